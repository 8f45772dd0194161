//! The plugins of `guest/README.md`: they compile, their tests pass, and the page shows them as they
//! are.

mod delay;
mod team_tags;

const README: &str = include_str!("../../README.md");

/// What a reader copies from the page is what is tested here.
#[test]
fn the_page_shows_these_plugins() {
    for source in [include_str!("team_tags.rs"), include_str!("delay.rs")] {
        assert!(
            README.contains(&format!("```rust\n{source}```\n")),
            "{source}"
        );
    }
}

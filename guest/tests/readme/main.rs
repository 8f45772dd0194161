//! The plugins of `guest/README.md` and of the repository's `README.md`: they compile, their tests
//! pass, and the pages show them as they are.

mod delay;
mod first;
mod limit;
mod redact;
mod team_tags;
mod workspace;

/// The code that the pages show is the code that is tested here.
#[test]
fn the_pages_show_these_plugins() {
    let guest = include_str!("../../README.md");
    let root = include_str!("../../../README.md");
    for (page, source) in [
        (guest, include_str!("team_tags.rs")),
        (guest, include_str!("delay.rs")),
        (guest, include_str!("limit.rs")),
        (guest, include_str!("redact.rs")),
        (root, include_str!("first.rs")),
    ] {
        assert!(
            page.contains(&format!("```rust\n{source}```\n")),
            "{source}"
        );
    }
}

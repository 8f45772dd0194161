use super::*;

/// One star stands for any characters, also none, and the rest must be there. Without one, the whole
/// origin counts.
#[test]
fn a_star_stands_for_anything() {
    for (known, origin, expected) in [
        ("*", "https://anybody", true),
        ("https://a", "https://a", true),
        ("https://A", "https://a", true),
        ("https://a", "https://a.b", false),
        ("https://*.a", "https://b.a", true),
        ("https://*.a", "https://.a", true),
        ("https://*.a", "https://a", false),
        ("https://*.a", "https://b.a.evil", false),
        ("http://localhost:*", "http://localhost:8080", true),
        ("http://localhost:*", "http://localhost", false),
        ("ab*ba", "aba", false),
        ("ab*ba", "abba", true),
        ("https://a", "null", false),
    ] {
        let found = matches(known.as_bytes(), origin.as_bytes());
        assert_eq!(found, expected, "{known} {origin}");
    }
}

/// A list of headers adds to those that every request may have, and a star allows all.
#[test]
fn headers_add_up() {
    let origins = |allowed: &[&str]| {
        Origins::new(Cors {
            allowed_headers: allowed.iter().map(|&name| name.to_owned()).collect(),
            ..Cors::default()
        })
    };
    let (none, one, all) = (origins(&[]), origins(&["X-Tenant"]), origins(&["*"]));
    for (name, expected) in [
        ("content-type", [true, true, true]),
        ("x-requested-with", [true, true, true]),
        ("x-tenant", [false, true, true]),
        ("x-other", [false, false, true]),
    ] {
        let found = [&none, &one, &all].map(|origins| origins.allows_header(name.as_bytes()));
        assert_eq!(found, expected, "{name}");
    }
}

//! Rust source as text: without comments, texts and tests, and the paths in it.

/// Returns the code without comments, the content of texts, and items that only tests have.
pub(crate) fn code(text: &str) -> String {
    without_tests(&without_comments(text))
}

/// Returns the text with comments and the content of string literals left out.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['/', '"', '\'']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or("", |end| &rest[end + 2..])
        } else if rest.starts_with('"') {
            code.push_str("\"\"");
            match hashes(&code) {
                0 => after_text(&rest[1..]),
                hashes => {
                    let end = format!("\"{}", "#".repeat(hashes));
                    let at = rest[1..].find(&end);
                    at.map_or("", |at| &rest[1 + at + end.len()..])
                }
            }
        } else if let Some(end) = character(rest) {
            &rest[end..]
        } else {
            let (first, after) = rest.split_at(1);
            code.push_str(first);
            after
        };
    }
    code + rest
}

/// Returns the number of `#` of the raw string that begins at the end of the code, `""` included.
fn hashes(code: &str) -> usize {
    let before = code.strip_suffix("\"\"").unwrap_or(code);
    let bare = before.trim_end_matches('#');
    match bare.ends_with('r') {
        true => before.len() - bare.len(),
        false => 0,
    }
}

/// Returns what comes after a string literal, of which the first quote is taken.
fn after_text(text: &str) -> &str {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// Returns the length of the character literal that the text begins with; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut letters = inner.char_indices();
    let (_, first) = letters.next()?;
    if first == '\\' {
        letters.next();
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let (at, second) = letters.next()?;
    (second == '\'').then_some(at + 2)
}

/// Returns the code without the items that have an attribute `#[cfg(test)]` or the like.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let (before, attribute) = rest.split_at(at);
        kept.push_str(before);
        let end = attribute.find(']').map_or(attribute.len(), |end| end + 1);
        let condition = &attribute[6..end];
        let is_test = condition.starts_with("test") || condition.starts_with("all(test");
        rest = &attribute[end..];
        if is_test {
            rest = after_item(rest);
        }
    }
    kept + rest
}

/// Returns what comes after the item at the beginning: after its `;`, or after its block.
fn after_item(code: &str) -> &str {
    let Some(at) = code.find([';', '{']) else {
        return "";
    };
    if code[at..].starts_with(';') || code.trim_start().starts_with("use ") {
        let end = code.find(';').map_or(code.len(), |end| end + 1);
        return &code[end..];
    }
    let mut depth = 0_usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return &code[at + 1..];
        }
    }
    ""
}

/// Returns the paths in the code, each as its names; the trees of `use` are taken apart.
pub(crate) fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let (before, statement) = rest.split_at(at);
        let is_word = before.ends_with(|it: char| it.is_alphanumeric() || it == '_');
        plain_paths(before, &mut found);
        let end = statement.find(';').filter(|_| !is_word);
        let Some(end) = end else {
            rest = &statement[4..];
            continue;
        };
        expand(&[], &statement[4..end], &mut found);
        rest = &statement[end..];
    }
    plain_paths(rest, &mut found);
    found
}

/// Adds the paths in code that is no `use`.
fn plain_paths(code: &str, found: &mut Vec<Vec<String>>) {
    let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == ':';
    for word in code.split(|it| !is_part(it)) {
        let mut names = word.split("::").map(str::to_owned);
        let path: Vec<String> = names.by_ref().collect();
        if path.len() > 1 && !path[0].is_empty() && path.iter().all(|name| !name.contains(':')) {
            found.push(path);
        }
    }
}

/// Adds the paths of a tree of `use`, below `prefix`.
fn expand(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    for branch in branches(tree) {
        let (path, inner) = match branch.split_once('{') {
            Some((path, inner)) => (path, inner.rsplit_once('}').map(|(inner, _)| inner)),
            None => (branch, None),
        };
        let path = path.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(str::trim);
        let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
        let whole: Vec<String> = prefix.iter().cloned().chain(names).collect();
        match inner {
            Some(inner) => expand(&whole, inner, found),
            None => found.push(whole),
        }
    }
}

/// Returns the parts of a tree between the commas that are in no braces.
fn branches(tree: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_usize, 0);
    for (at, letter) in tree.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&tree[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[begin..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Comments, texts and characters are left out, whatever is in them.
#[test]
fn code_is_what_is_left() {
    let text =
        "let a = \"crate::b \\\" //\"; // crate::c\nlet c = '\"'; let d: &'a str = r#\"x\" use\"#;";
    assert_eq!(
        code(text),
        "let a = \"\"; \nlet c = ; let d: &'a str = r#\"\";"
    );
    let text = "#[cfg(test)]\nmod tests { fn f() {} }\nuse a;#[cfg(test)] use b::{c, d}; fn g() {}";
    assert_eq!(code(text), "\nuse a; fn g() {}");
}

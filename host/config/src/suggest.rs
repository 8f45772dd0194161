//! Suggestions for unknown words: "Did you mean ...?"

/// Returns the known word that `word` was probably meant to be.
pub fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, best) = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may be wrong: with more it is another word.
    let allowed = word
        .chars()
        .count()
        .max(best.chars().count())
        .div_ceil(3)
        .min(4);
    (distance <= allowed).then_some(best)
}

/// Returns the number of letters to insert, remove or replace to turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, from) in a.chars().enumerate() {
        let mut next = vec![index + 1];
        let mut left = index + 1;
        for (to, above) in b.iter().zip(row.windows(2)) {
            let &[diagonal, up] = above else { continue };
            left = (diagonal + usize::from(from != *to))
                .min(up + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelled word finds the word that was meant; another word finds none.
    #[test]
    fn slips_find_their_word() {
        let known = ["endpoint", "timeout", "compression"];
        for (word, meant) in [
            ("endpont", Some("endpoint")),
            ("time_out", Some("timeout")),
            ("compresion", Some("compression")),
            ("headers", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &known), meant, "{word}");
        }
    }
}

//! Finds the stage that the operator means.

use spandrel_config::suggest::closest;

/// Finds a stage by its whole name, or by the part after the `/` if only one stage has it.
pub(super) fn find(named: &str, all: &[&str]) -> Result<String, String> {
    if all.contains(&named) {
        return Ok(named.to_owned());
    }
    let short = |stage: &&&str| stage.split_once('/').is_some_and(|(_, name)| name == named);
    let meant: Vec<&str> = all.iter().filter(short).copied().collect();
    match meant.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(unknown(named, all)),
        several => Err(format!(
            "`{named}` may be {}; write the whole name",
            several.join(" or ")
        )),
    }
}

fn unknown(named: &str, all: &[&str]) -> String {
    let short = all
        .iter()
        .filter_map(|stage| Some(stage.split_once('/')?.1));
    let known: Vec<&str> = all.iter().copied().chain(short).collect();
    let instead = match closest(named, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if all.is_empty() => "this collector has none".to_owned(),
        None => format!("there are {}", all.join(", ")),
    };
    format!("there is no stage `{named}`; {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short name is enough if only one stage has it. The error for any other name suggests a
    /// remedy.
    #[test]
    fn the_stage_that_is_meant_is_found() {
        let all = ["wasm/tag", "wasm/drop", "native/drop", "wasm"];
        for (named, stage) in [
            ("tag", "wasm/tag"),
            ("wasm/drop", "wasm/drop"),
            ("wasm", "wasm"),
        ] {
            assert_eq!(find(named, &all).as_deref(), Ok(stage));
        }
        for (named, error) in [
            (
                "drop",
                "`drop` may be wasm/drop or native/drop; write the whole name",
            ),
            ("tags", "there is no stage `tags`; did you mean `tag`?"),
            (
                "batch",
                "there is no stage `batch`; there are wasm/tag, wasm/drop, native/drop, wasm",
            ),
        ] {
            assert_eq!(find(named, &all), Err(error.to_owned()));
        }
        assert!(find("tag", &[]).expect_err("none").ends_with("has none"));
    }
}

//! The rules of the contract for a plugin's manifest.

use std::collections::BTreeSet;
use std::time::Duration;

use spandrel_pipeline::stage::Manifest;
use spandrel_supply::text;

/// The number of drop reasons that a verdict byte has room for, besides keep, hold and undisposed,
/// rounded down.
const DROP_REASONS: usize = 250;
/// The longest name in a manifest: names become labels of metrics.
const NAME_BYTES: usize = 128;
/// The shortest tick interval. Ticks run between batches; with a shorter interval, a shard would do
/// nothing else.
const TICK_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the first rule of the contract that a manifest breaks.
pub(crate) fn check(manifest: &Manifest, traces: bool) -> Result<(), String> {
    check_name("the plugin's name", &manifest.name)?;
    check_name("the plugin's version", &manifest.version)?;
    if !traces {
        return Err("`signals` must contain traces, the only signal that plugins see".to_owned());
    }
    if let Some(interval) = manifest.tick_interval
        && interval < TICK_INTERVAL
    {
        return Err(format!(
            "a tick interval of {} ms is too short: 0 for none, or at least {}",
            interval.as_millis(),
            TICK_INTERVAL.as_millis()
        ));
    }
    if manifest.drop_reasons.len() > DROP_REASONS {
        return Err(format!(
            "{} drop reasons are too many: at most {DROP_REASONS}",
            manifest.drop_reasons.len()
        ));
    }
    let mut seen = BTreeSet::new();
    for reason in &manifest.drop_reasons {
        check_name("a drop reason", reason)?;
        if !seen.insert(reason) {
            return Err(format!(
                "the drop reason `{}` is there twice",
                text::printable(reason, NAME_BYTES)
            ));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let shown = text::printable(name, NAME_BYTES);
    if name.is_empty() || shown != name {
        return Err(format!(
            "{what} is \"{shown}\": it must be 1 to {NAME_BYTES} printable bytes"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spandrel_pipeline::stage::Manifest;

    use super::check;

    fn good() -> Manifest {
        Manifest {
            name: "tag".to_owned(),
            version: "1.0.0".to_owned(),
            drop_reasons: vec!["health".to_owned(), "noise".to_owned()],
            ..Manifest::default()
        }
    }

    fn problem(change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = good();
        change(&mut manifest);
        check(&manifest, true).expect_err("refused")
    }

    /// Each rule of a manifest has its own message.
    #[test]
    fn each_rule_of_a_manifest_has_its_message() {
        assert_eq!(check(&good(), true), Ok(()));
        assert_eq!(
            check(&good(), false),
            Err("`signals` must contain traces, the only signal that plugins see".to_owned())
        );
        assert_eq!(
            problem(|manifest| manifest.name.clear()),
            "the plugin's name is \"\": it must be 1 to 128 printable bytes"
        );
        assert_eq!(
            problem(|manifest| "a\nb".clone_into(&mut manifest.version)),
            "the plugin's version is \"a\\nb\": it must be 1 to 128 printable bytes"
        );
        assert_eq!(
            problem(|manifest| manifest.tick_interval = Some(Duration::from_millis(9))),
            "a tick interval of 9 ms is too short: 0 for none, or at least 10"
        );
        assert_eq!(
            problem(|manifest| manifest.drop_reasons.push("health".to_owned())),
            "the drop reason `health` is there twice"
        );
        assert_eq!(
            problem(|manifest| manifest.drop_reasons = (0..251).map(|n| n.to_string()).collect()),
            "251 drop reasons are too many: at most 250"
        );
    }
}

//! Refuses settings that cannot be sent, before anything is started, by the name of their option.

use std::time::Duration;

use crate::error::BenchError;
use crate::item_name::MAX_ITEMS;
use crate::settings::{LoadLength, Settings};
use crate::template::least_size;

/// The largest share of health checks and duplicates together: the other items are what is counted.
const MAX_SHARES: f64 = 0.9;
/// The largest message of one request, in bytes; collectors are told to take 64 MiB.
const MAX_MESSAGE: usize = 48 << 20;

/// Refuses settings that cannot be sent.
pub(crate) fn check(settings: &Settings) -> Result<(), BenchError> {
    let problem = of_requests(settings)
        .or_else(|| of_items(settings))
        .or_else(|| of_the_run(settings));
    problem.map_or(Ok(()), |problem| Err(BenchError::Load(problem)))
}

fn of_requests(settings: &Settings) -> Option<String> {
    let load = &settings.load;
    if !(1..=65_536).contains(&load.batch) {
        Some(format!(
            "--batch {}: a batch has 1 to 65536 items",
            load.batch
        ))
    } else if !(1..=1024).contains(&load.connections) {
        let connections = load.connections;
        Some(format!(
            "--connections {connections}: there are 1 to 1024 of them"
        ))
    } else if !(1..=100).contains(&load.in_flight) {
        let in_flight = load.in_flight;
        Some(format!(
            "--in-flight {in_flight}: a connection has 1 to 100 requests under way"
        ))
    } else if load.rate == Some(0) {
        Some("--rate 0: at least 1 item per second is sent".to_owned())
    } else if load.batch.saturating_mul(load.size) > MAX_MESSAGE {
        let (batch, size) = (load.batch, load.size);
        Some(format!(
            "--batch {batch} with --size {size}: a batch has at most 48 MiB"
        ))
    } else {
        None
    }
}

fn of_items(settings: &Settings) -> Option<String> {
    let load = &settings.load;
    let shares = [
        ("--health-checks", load.health_checks),
        ("--duplicates", load.duplicates),
    ];
    // A share that is not a number is in no range.
    let wrong = |share: &f64| !(0.0..=MAX_SHARES).contains(share);
    if let Some((option, share)) = shares.iter().find(|(_, share)| wrong(share)) {
        return Some(format!("{option} {share}: a share is from 0 to 0.9"));
    }
    let both = load.health_checks + load.duplicates;
    if both > MAX_SHARES {
        return Some(format!(
            "--health-checks and --duplicates are {both} together: at most 0.9, for the other items are what is counted"
        ));
    }
    if load.services == 0 {
        return Some("--services 0: there is at least 1".to_owned());
    }
    if !(1..=128).contains(&load.attributes) {
        let attributes = load.attributes;
        return Some(format!(
            "--attributes {attributes}: an item has 1 to 128 of them"
        ));
    }
    let (size, least) = (load.size, least_size(load));
    if !(least..=65_536).contains(&size) {
        let attributes = load.attributes;
        return Some(format!(
            "--size {size}: with --attributes {attributes} an item has {least} to 65536 bytes"
        ));
    }
    None
}

fn of_the_run(settings: &Settings) -> Option<String> {
    let load = &settings.load;
    match load.amount {
        LoadLength::Items(0) => return Some("--count 0: at least 1 item is sent".to_owned()),
        LoadLength::For(Duration::ZERO) => {
            return Some("--duration 0: it must take some time".to_owned());
        }
        LoadLength::Items(_) | LoadLength::For(_) => {}
    }
    let batch = u64::try_from(load.batch).unwrap_or(u64::MAX).max(1);
    let items = |amount| match amount {
        LoadLength::Items(items) => items.div_ceil(batch).saturating_mul(batch),
        LoadLength::For(_) => 0,
    };
    if items(load.amount).saturating_add(items(load.warm_up)) > MAX_ITEMS {
        return Some(format!(
            "--count {}, with --warm-up and in whole batches: a run has at most {MAX_ITEMS} items, of which each has a number",
            items(load.amount)
        ));
    }
    if settings.timeout.is_zero() {
        return Some("--timeout 0: nothing is there at once".to_owned());
    }
    let windows = settings.windows;
    if !(16_384..=16_777_215).contains(&windows.frame) {
        let frame = windows.frame;
        return Some(format!(
            "--backend-frame {frame}: a frame has 16384 to 16777215 bytes"
        ));
    }
    if !(16_384..=1 << 30).contains(&windows.stream) {
        let stream = windows.stream;
        return Some(format!(
            "--backend-window {stream}: a window has 16384 to 1073741824 bytes"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{CollectorUnderTest, Load, Windows};

    fn settings(load: Load) -> Settings {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        Settings {
            subject: CollectorUnderTest::Unknown,
            endpoint: any,
            backend: any,
            windows: Windows::default(),
            load,
            timeout: Duration::from_secs(1),
            may_drop: false,
            yardstick: None,
        }
    }

    fn problem(change: impl FnOnce(&mut Load)) -> String {
        let mut load = Load::default();
        change(&mut load);
        let refused = check(&settings(load));
        refused.map_or_else(|error| error.to_string(), |()| String::new())
    }

    /// A setting that cannot be sent is refused with its option and value; a valid one is not
    /// refused.
    #[test]
    fn options_are_named() {
        assert_eq!(problem(|_| {}), "");
        assert_eq!(problem(|load| load.batch = 1), "");
        let most = LoadLength::Items(MAX_ITEMS);
        let cases = [
            (problem(|load| load.batch = 0), "--batch 0"),
            (
                problem(|load| load.duplicates = f64::NAN),
                "--duplicates NaN",
            ),
            (
                problem(|load| load.health_checks = -0.1),
                "--health-checks -0.1",
            ),
            (problem(|load| load.duplicates = 0.8), "together"),
            (problem(|load| load.services = 0), "--services 0"),
            (problem(|load| load.attributes = 0), "--attributes 0"),
            (problem(|load| load.size = 100), "--size 100"),
            (problem(|load| load.rate = Some(0)), "--rate 0"),
            (
                problem(|load| load.amount = LoadLength::Items(0)),
                "--count 0",
            ),
            (
                problem(|load| (load.amount, load.warm_up) = (most, LoadLength::Items(1))),
                "2147483648",
            ),
        ];
        for (problem, names) in cases {
            assert!(problem.contains(names), "{names}: {problem}");
        }
        // A run may have as many items as there are numbers.
        assert_eq!(problem(|load| load.amount = most), "");
        let mut hasty = settings(Load::default());
        hasty.timeout = Duration::ZERO;
        let error = check(&hasty).expect_err("there is no time");
        assert!(error.to_string().contains("--timeout 0"), "{error}");
    }
}

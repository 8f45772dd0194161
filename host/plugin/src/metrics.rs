//! A plugin's own counters and gauges.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The number of names that one stage may use: each is a time series in the operator's metrics
/// store.
const NAMES: usize = 64;
/// The longest name.
const NAME_BYTES: usize = 64;

/// The value of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter: it only grows.
    Counter(u64),
    /// A gauge: the last value that was set.
    Gauge(f64),
}

/// The outcome for a value that a guest gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricOutcome {
    /// The value was counted.
    Accepted,
    /// The value was refused, for the first time in this stage: this is worth a line in the log.
    RefusedFirst(&'static str),
    /// The value was refused, and not for the first time.
    Refused,
}

/// The metrics of one stage's plugin, shared by its instances and by its generations.
#[derive(Debug, Default)]
pub struct Metrics {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    values: BTreeMap<String, Value>,
    refused: u64,
}

impl Metrics {
    /// Returns every metric by name, for the program's own `/metrics`.
    pub fn snapshot(&self) -> Vec<(String, Value)> {
        let table = self.table.lock();
        let values = table.values.iter();
        values.map(|(name, value)| (name.clone(), *value)).collect()
    }

    /// Returns the number of values that were refused: a bad name, one name too many, or a name of
    /// another kind.
    pub fn refused(&self) -> u64 {
        let table = self.table.lock();
        table.refused
    }

    pub(crate) fn count(&self, name: &str, delta: u64) -> MetricOutcome {
        self.update(name, Value::Counter(0), |value| {
            if let Value::Counter(sum) = value {
                *sum = sum.saturating_add(delta);
            }
        })
    }

    pub(crate) fn gauge(&self, name: &str, new: f64) -> MetricOutcome {
        self.update(name, Value::Gauge(0.0), |value| *value = Value::Gauge(new))
    }

    fn update(&self, name: &str, zero: Value, change: impl FnOnce(&mut Value)) -> MetricOutcome {
        let mut table = self.table.lock();
        let known = table.values.len();
        let refusal = match table.values.get_mut(name) {
            Some(value) if std::mem::discriminant(value) == std::mem::discriminant(&zero) => {
                change(value);
                return MetricOutcome::Accepted;
            }
            Some(_) => "a name is a counter or a gauge, not both",
            None if !is_name(name) => "a name is 1 to 64 of a-z, 0-9 and _",
            None if known >= NAMES => "a stage has at most 64 names",
            None => {
                let mut value = zero;
                change(&mut value);
                table.values.insert(name.to_owned(), value);
                return MetricOutcome::Accepted;
            }
        };
        table.refused = table.refused.saturating_add(1);
        if table.refused == 1 {
            MetricOutcome::RefusedFirst(refusal)
        } else {
            MetricOutcome::Refused
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{MetricOutcome, Metrics, Value};

    /// Counters add up, gauges keep the last value, and the snapshot is in order of names.
    #[test]
    fn counters_add_and_gauges_replace() {
        let metrics = Metrics::default();
        assert_eq!(metrics.gauge("b_gauge", 1.5), MetricOutcome::Accepted);
        assert_eq!(metrics.gauge("b_gauge", 2.5), MetricOutcome::Accepted);
        assert_eq!(metrics.count("a", 2), MetricOutcome::Accepted);
        assert_eq!(metrics.count("a", u64::MAX), MetricOutcome::Accepted);
        assert_eq!(
            metrics.snapshot(),
            [
                ("a".to_owned(), Value::Counter(u64::MAX)),
                ("b_gauge".to_owned(), Value::Gauge(2.5))
            ]
        );
    }

    /// A bad name, a name of the other kind and the 65th name are refused and counted, not stored.
    #[test]
    fn bad_names_are_refused_and_counted() {
        let metrics = Metrics::default();
        for number in 0..64 {
            assert_eq!(
                metrics.count(&format!("n{number}"), 1),
                MetricOutcome::Accepted
            );
        }
        assert!(matches!(
            metrics.count("one_more", 1),
            MetricOutcome::RefusedFirst(_)
        ));
        let long = "x".repeat(65);
        for bad in ["", "Upper", "a-b", "é", long.as_str()] {
            assert_eq!(metrics.count(bad, 1), MetricOutcome::Refused);
        }
        assert_eq!(metrics.gauge("n0", 1.0), MetricOutcome::Refused);
        assert_eq!(metrics.refused(), 7);
        assert_eq!(metrics.snapshot().len(), 64);
    }
}

use serde_json::json;

use super::*;

fn report(rate: f64, us_per_item: f64) -> Value {
    json!({
        "collector": { "peak_bytes": 36 << 20, "idle_bytes": null, "ready_ms": 41.7 },
        "cost": {
            "items_per_cpu_second": rate,
            "us_per_item": us_per_item,
            "user_share": 0.25,
            "system_share": 0.75,
        },
        "items_per_second": 543_210.9,
        "latency_ms": { "p50": 1.25, "p99": 12.0 },
        "items": {
            "lost": 1, "late": 8, "duplicated": 2, "rejected": 9, "refused": { "UNAVAILABLE": 3, "INTERNAL": 4 },
            "unanswered": 5, "health_checks_sent": 60, "health_checks_accepted": 50,
            "health_checks_delivered": 7,
        },
        "verdict": { "ok": false, "bed_is_cheap": false },
    })
}

/// Figures are read from the report in the table's units; a missing one is shown as a dash.
#[test]
fn figures_are_read() {
    let figures = Figures::read(&report(1_234_567.8, 0.81));
    let expected = [
        "1,234,568",
        "0.81",
        "0.20",
        "0.61",
        "543,211",
        "36.0",
        "-",
        "42",
        "1.2",
        "12.0",
    ];
    assert_eq!(figures.shown(), expected);
    assert_eq!(figures.rate(), Some(1_234_567.8));
    let nothing = Figures::read(&json!({}));
    assert_eq!(nothing.shown(), ["-"; COLUMNS.len()]);
}

/// Every column has a median of its own, and a round without a figure does not count for it.
#[test]
fn medians_are_by_column() {
    let mut rounds: Vec<Figures> = [(300.0, 1.0), (100.0, 9.0), (200.0, 5.0)]
        .map(|(rate, cost)| Figures::read(&report(rate, cost)))
        .to_vec();
    let medians = Figures::medians(&rounds);
    assert_eq!(medians.values()[..2], [Some(200.0), Some(5.0)]);
    assert_eq!(medians.values()[6], None);
    rounds.push(Figures::default());
    assert_eq!(Figures::medians(&rounds), medians);
    assert_eq!(Figures::medians(&[]), Figures::default());
}

/// The median of an even number of values is the mean of the two middle ones.
#[test]
fn medians_are_in_the_middle() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
    assert_eq!(median(vec![8.0, 2.0, 100.0, 4.0]), Some(6.0));
}

/// Thousands are separated before the point, never behind it.
#[test]
fn thousands_are_set_apart() {
    for (figure, shown) in [
        ("0", "0"),
        ("999", "999"),
        ("1000", "1,000"),
        ("1234567.1234", "1,234,567.1234"),
    ] {
        assert_eq!(grouped(figure), shown);
    }
}

/// Failures are summed over the rounds, for every name of the status.
#[test]
fn counts_are_summed() {
    let mut counts = Counts::read(&report(1.0, 1.0));
    counts.add(&counts.clone());
    let expected = Counts {
        lost: 2,
        late: 16,
        duplicated: 4,
        rejected: 18,
        refused: 14,
        unanswered: 10,
        health_checks_sent: 120,
        health_checks_accepted: 100,
        health_checks_delivered: 14,
    };
    assert_eq!(counts, expected);
    let verdict = Verdict {
        is_ok: false,
        is_doubtful: true,
    };
    assert_eq!(Verdict::read(&report(1.0, 1.0)), verdict);
}

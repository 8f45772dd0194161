//! The whole bed, with the raw proxy in the collector's place.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use spandrel_bench::{
    BenchError, CollectorUnderTest, CommandLine, Compression, Load, LoadLength, Report, Settings,
    Signal, Windows, proxy, run,
};

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn settings(load: Load) -> Settings {
    Settings {
        subject: CollectorUnderTest::Running(std::process::id()),
        endpoint: free_address(),
        backend: free_address(),
        windows: Windows::default(),
        load,
        timeout: Duration::from_secs(10),
        may_drop: false,
        yardstick: None,
    }
}

fn load(signal: Signal) -> Load {
    Load {
        signal,
        batch: 100,
        connections: 2,
        in_flight: 2,
        amount: LoadLength::Items(5000),
        warm_up: LoadLength::Items(1000),
        ..Load::default()
    }
}

/// Sends a load through the proxy, which runs in this process.
async fn through_the_proxy(settings: &Settings) -> Report {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let (listen, to) = (settings.endpoint, settings.backend);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(proxy::run(listen, to, stopped));
    while tokio::net::TcpStream::connect(listen).await.is_err() {
        tokio::task::yield_now().await;
    }
    let report = run(settings, &mut |_| {}).await.expect("it runs");
    stop.send(()).expect("it runs still");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic").expect("it served");
    }
    report
}

fn assert_all_arrived(report: &Report) {
    let items = &report.items;
    assert_eq!(
        (items.sent, items.accepted, items.lost),
        (5000, 5000, 0),
        "{items:?}"
    );
    assert_eq!(
        items.delivered + items.health_checks_delivered + items.duplicates_sent,
        5000
    );
    assert_eq!(items.duplicates_delivered, items.duplicates_sent);
    assert_eq!(
        items.duplicated + items.foreign + items.malformed_messages,
        0,
        "{items:?}"
    );
    assert!(report.verdict.ok, "{report:?}");
    let latency = &report.latency_ms;
    assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
}

/// Every item of every signal is counted once, and the cost is known.
#[tokio::test]
async fn every_signal_is_counted() {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let report = through_the_proxy(&settings(load(signal))).await;
        assert_all_arrived(&report);
        assert_eq!(report.items.health_checks_sent, 1000, "{signal:?}");
        let cost = report.cost.expect("it is this process");
        assert!(cost.us_per_item > 0.0 && report.generator.us_per_item > 0.0);
        assert!(report.backend.us_per_item > 0.0);
    }
}

/// Compressed requests arrive like others, and the report says what was sent.
#[tokio::test]
async fn gzip_is_sent() {
    let settings = settings(Load {
        compression: Compression::Gzip,
        ..load(Signal::Traces)
    });
    let report = through_the_proxy(&settings).await;
    assert_all_arrived(&report);
    assert_eq!(report.load.compression, "gzip");
    assert!(report.load.bytes_per_item < 400.0, "{:?}", report.load);
}

/// Duplicates on purpose are told from those that a collector makes. A load with a rate takes as
/// long as the rate says.
#[tokio::test]
async fn duplicates_and_rates_are_kept() {
    let settings = settings(Load {
        duplicates: 0.1,
        rate: Some(20_000),
        ..load(Signal::Logs)
    });
    let report = through_the_proxy(&settings).await;
    assert_all_arrived(&report);
    assert!(
        (450..=500).contains(&report.items.duplicates_sent),
        "{:?}",
        report.items
    );
    assert!(report.elapsed_s > 0.2, "{}", report.elapsed_s);
    // Both forms carry the main figure.
    let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert!(
        json["cost"]["items_per_cpu_second"]
            .as_f64()
            .is_some_and(|figure| figure > 0.0)
    );
    assert_eq!(json["items"]["lost"], 0);
    let text = report.text(false);
    assert!(
        text.contains("items per CPU-second") && text.contains("0 lost"),
        "{text}"
    );
    assert!(!text.contains('\x1b') && report.text(true).contains('\x1b'));
}

/// A program that ends at once is shown with its last lines of output.
#[tokio::test]
async fn a_collector_that_does_not_come_up_is_shown() {
    let mut settings = settings(load(Signal::Traces));
    settings.subject = CollectorUnderTest::Started(CommandLine {
        program: "sh".into(),
        arguments: vec!["-c".into(), "echo no such exporter >&2; exit 7".into()],
    });
    let error = run(&settings, &mut |_| {}).await.expect_err("it is gone");
    assert!(matches!(error, BenchError::Ended { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("no such exporter") && text.contains('7'),
        "{text}"
    );
}

/// The error about a port in use names the port, and says what to do.
#[tokio::test]
async fn a_port_in_use_is_named() {
    let mut settings = settings(load(Signal::Traces));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    settings.backend = taken.local_addr().expect("an address");
    let error = run(&settings, &mut |_| {}).await.expect_err("it is taken");
    let text = error.to_string();
    assert!(text.contains(&settings.backend.to_string()), "{text}");
    assert!(text.contains("--backend"), "{text}");
}

/// A program that neither did the work nor ended well is reported for both, with its last lines of
/// output; the run is not good.
#[tokio::test]
async fn idlers_and_bad_ends_are_told() {
    let name = format!("started-{}", std::process::id());
    let started = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let script = "trap 'echo no room left; exit 5' TERM; sleep 60 >/dev/null 2>&1 & : > $0; wait";
    let mut settings = settings(load(Signal::Traces));
    settings.subject = CollectorUnderTest::Started(CommandLine {
        program: "sh".into(),
        arguments: vec!["-c".into(), script.into(), started.clone().into()],
    });
    // The proxy does the work instead, as soon as the program is there.
    let (listen, to) = (settings.endpoint, settings.backend);
    let mut tasks = tokio::task::JoinSet::new();
    let its_file = started.clone();
    tasks.spawn(async move {
        while !its_file.exists() {
            tokio::task::yield_now().await;
        }
        proxy::run(listen, to, std::future::pending()).await
    });
    let report = run(&settings, &mut |_| {}).await.expect("it runs");
    std::fs::remove_file(&started).expect("it was made");
    assert_eq!(report.items.lost + report.items.late, 0, "{report:?}");
    assert!(!report.verdict.ok && report.cost.is_none(), "{report:?}");
    let remarks = report.verdict.remarks.join("\n");
    assert!(
        remarks.contains("5); its last lines:\nno room left"),
        "{remarks}"
    );
    assert!(remarks.contains("--pid"), "{remarks}");
}

/// A load that cannot be sent is refused before anything is started.
#[tokio::test]
async fn a_load_that_cannot_be_sent_is_refused() {
    let settings = settings(Load {
        batch: 0,
        ..load(Signal::Traces)
    });
    let error = run(&settings, &mut |_| {}).await.expect_err("it is none");
    assert!(matches!(error, BenchError::Load(_)), "{error}");
    assert!(error.to_string().contains("--batch 0"), "{error}");
}

/// A phase ends when its time is up, even if requests are due long after.
#[tokio::test]
async fn a_slow_rate_ends_in_time() {
    let settings = settings(Load {
        rate: Some(1),
        batch: 100,
        warm_up: LoadLength::Items(0),
        amount: LoadLength::For(Duration::from_millis(300)),
        ..load(Signal::Traces)
    });
    // The second request is due after 100 seconds.
    let report = tokio::time::timeout(Duration::from_secs(30), through_the_proxy(&settings)).await;
    let report = report.expect("in time");
    assert_eq!((report.items.sent, report.items.accepted), (100, 100));
    assert!(report.verdict.ok, "{report:?}");
}

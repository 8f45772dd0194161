use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use spandrel_wire::{Limits, Traces, count, validate};

use super::*;
use crate::walk;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

const STAMP: PatchValues = PatchValues {
    run: 77,
    is_warm_up: false,
    first: 4096,
    time: 1_800_000_000_000_000_000,
};

/// Notes every item that it is shown, and wants every time.
#[derive(Default)]
struct Notes(Vec<(u64, u64)>);

impl walk::ItemVisitor for Notes {
    fn wants_time(&mut self, _: u64) -> bool {
        true
    }

    fn item(&mut self, id: u64, time: u64) {
        self.0.push((id, time));
    }
}

fn load(signal: Signal, batch: usize) -> Load {
    Load {
        signal,
        batch,
        ..Load::default()
    }
}

fn patched(template: &Template) -> Bytes {
    let mut copy = template.copy();
    template.patch(&mut copy, &STAMP);
    copy.freeze().slice(PREFIX..)
}

/// Patched requests of every signal and size are valid in every detail, as collectors require.
#[test]
fn requests_are_valid() {
    for signal in SIGNALS {
        for batch in [1, 7, 512, 1000] {
            let template = Template::new(&load(signal, batch), 3).expect("it can be made");
            let message = patched(&template);
            let summary = validate(signal, &message, &Limits::default()).expect("it is valid");
            assert_eq!(summary.items, batch, "{signal:?}");
            assert_eq!(count(signal, &message), batch);
            match signal {
                Signal::Traces => drop(ExportTraceServiceRequest::decode(message).expect("good")),
                Signal::Metrics => {
                    drop(ExportMetricsServiceRequest::decode(message).expect("good"));
                }
                Signal::Logs => drop(ExportLogsServiceRequest::decode(message).expect("good")),
            }
        }
    }
}

/// Every item has its own name and the time of sending; a duplicate has those of its original.
#[test]
fn items_are_named() {
    for signal in SIGNALS {
        let mut load = load(signal, 100);
        load.duplicates = 0.1;
        let template = Template::new(&load, 0).expect("it can be made");
        let message = patched(&template);
        let mut notes = Notes::default();
        assert!(walk::items(signal, &[message], &mut notes));
        let mut names = Vec::new();
        for (id, time) in notes.0 {
            assert_eq!(time, STAMP.time);
            let name = ItemName::from_bits(id);
            assert_eq!(name.run, STAMP.run);
            names.push(name);
        }
        assert_eq!(names.len(), 100);
        for (position, (name, role)) in names.iter().zip(&template.roles).enumerate() {
            let original = match role {
                Role::DuplicateOf(earlier) => *earlier,
                _ => position,
            };
            assert_eq!(name.number, STAMP.first + original as u64);
            assert_eq!(name.kind.is_health_check, *role == Role::HealthCheck);
        }
    }
}

/// A request is read the same however it was cut into pieces.
#[test]
fn pieces_do_not_matter() {
    for signal in SIGNALS {
        let message = patched(&Template::new(&load(signal, 40), 1).expect("it can be made"));
        let read = |pieces: &[Bytes]| {
            let mut notes = Notes::default();
            assert!(walk::items(signal, pieces, &mut notes));
            notes.0
        };
        let whole = read(std::slice::from_ref(&message));
        assert_eq!(whole.len(), 40);
        for size in [1, 2, 3, 11, 100, 5000] {
            let pieces: Vec<Bytes> = message.chunks(size).map(Bytes::copy_from_slice).collect();
            assert_eq!(read(&pieces), whole, "in pieces of {size}");
        }
        assert!(!walk::items(
            signal,
            &[message.slice(..900)],
            &mut Notes::default()
        ));
    }
}

/// The shares of health checks and duplicates are as asked for, in large batches and in small ones.
#[test]
fn shares_are_kept() {
    for batch in [1, 8, 512] {
        let mut load = load(Signal::Traces, batch);
        load.duplicates = if batch > 1 { 0.1 } else { 0.0 };
        let mut tally = Tally::default();
        let templates = if batch == 512 { 2 } else { 16 };
        for index in 0..templates {
            tally.add(Template::new(&load, index).expect("it can be made").tally);
        }
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let share = |of: u64| of as f64 / tally.items() as f64;
        assert!((share(tally.health_checks) - 0.2).abs() < 0.02, "{tally:?}");
        assert!(
            (share(tally.duplicates) - load.duplicates).abs() < 0.03,
            "{tally:?}"
        );
    }
}

/// An item takes about the bytes that were asked for, and has the attributes.
#[test]
fn items_are_as_described() {
    for signal in SIGNALS {
        for size in [500, 640, 2000] {
            let mut load = load(signal, 512);
            load.size = size;
            let message = patched(&Template::new(&load, 0).expect("it can be made"));
            let each = message.len() / 512;
            assert!(
                each.abs_diff(size) <= size / 25,
                "{signal:?} {size}: {each}"
            );
        }
    }
    let template = Template::new(&load(Signal::Traces, 64), 0).expect("it can be made");
    let message = patched(&template);
    let mut services = Vec::new();
    for placed in Traces::new(&message).spans() {
        assert_eq!(placed.span.attributes().count(), 12);
        services.push(
            placed
                .resource_spans
                .resource()
                .service_name()
                .expect("it has a name")
                .to_owned(),
        );
    }
    services.dedup();
    assert_eq!(services.len(), 4, "one for each 16 items: {services:?}");
}

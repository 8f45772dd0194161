use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use spandrel_wire::PartialSuccess;

fn response(rejected: i64, message: &str) -> Vec<u8> {
    let partial = ExportTracePartialSuccess {
        rejected_spans: rejected,
        error_message: message.to_owned(),
    };
    ExportTraceServiceResponse {
        partial_success: Some(partial),
    }
    .encode_to_vec()
}

/// A partial success is written as prost writes it, and read again.
#[test]
fn a_partial_success_is_written_and_read() {
    for (rejected, message) in [(1, "too old"), (1 << 40, "x")] {
        let partial = PartialSuccess {
            rejected,
            message: message.to_owned(),
        };
        let wire = response(rejected.cast_signed(), message);
        assert_eq!(partial.encode(), wire);
        assert_eq!(PartialSuccess::decode(&wire), Some(partial));
    }
}

/// Nothing is rejected by an empty response, by an empty partial success, or by a count below zero.
/// Unknown fields are skipped.
#[test]
fn a_full_success_rejects_nothing() {
    for wire in [
        vec![],
        response(0, ""),
        response(-1, ""),
        [response(0, ""), vec![0x7a, 1, 9, 0x28, 7]].concat(),
    ] {
        let read = PartialSuccess::decode(&wire);
        assert_eq!(read, Some(PartialSuccess::default()), "{wire:?}");
    }
}

/// Each response that prost refuses is refused: a part of a response, and bytes of a wrong
/// type or encoding.
#[test]
fn other_bytes_are_no_response() {
    let whole = response(300, "too old");
    let beginnings = (0..whole.len()).map(|len| whole[..len].to_vec());
    let wrong = [
        b"garbage".to_vec(),
        vec![0x08, 1],
        vec![0x0a, 2, 0x0a, 0],
        vec![0x0a, 2, 0x10, 1],
        vec![0x0a, 3, 0x12, 1, 0xff],
    ];
    for wire in beginnings.chain(wrong) {
        let expected = ExportTraceServiceResponse::decode(&*wire).is_ok();
        assert_eq!(
            PartialSuccess::decode(&wire).is_some(),
            expected,
            "{wire:?}"
        );
    }
}

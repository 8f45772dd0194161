//! The wire crate against prost: for arbitrary requests, what is done to the bytes equals what is
//! done to the decoded objects.
//!
//! The default case counts keep this binary under 40 seconds. The full form:
//! `PROPTEST_CASES=20000 cargo test -p spandrel-wire --test wire`.

use std::mem::size_of;

use opentelemetry_proto::tonic::trace::v1::Span;

/// The estimate of decoded sizes follows the sizes of the real structs.
#[test]
fn sizes() {
    assert_eq!(size_of::<Span>(), 264);
}

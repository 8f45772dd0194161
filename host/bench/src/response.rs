//! The content of the responses to OTLP requests.

/// Returns the number of items that a success took back: all signals have the same two fields for
/// it.
pub(crate) fn rejected(response: &[u8]) -> u64 {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Response {
        #[prost(message, optional, tag = "1")]
        partial_success: Option<PartialSuccess>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct PartialSuccess {
        #[prost(int64, tag = "1")]
        rejected: i64,
    }
    let response = <Response as prost::Message>::decode(response).unwrap_or_default();
    let rejected = response.partial_success.unwrap_or_default().rejected;
    u64::try_from(rejected).unwrap_or(0)
}

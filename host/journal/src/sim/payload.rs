//! Payloads that say which batch they are.

use bytes::Bytes;

/// Returns the batch with this number. No two are the same, and each byte of one depends on its
/// number.
pub(crate) fn payload(id: u64, length: usize) -> Bytes {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((length as u64).to_le_bytes());
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length.max(16) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state.to_le_bytes()[3]);
    }
    Bytes::from(bytes)
}

/// Returns the number of a batch. Fails unless every byte is right.
pub(crate) fn identify(bytes: &[u8]) -> u64 {
    let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let length = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    assert_eq!(
        bytes,
        payload(id, usize::try_from(length).unwrap()),
        "wrong bytes"
    );
    id
}

/// Returns the number of items of a batch.
pub(crate) fn items(id: u64) -> u64 {
    id % 7 + 1
}

//! Joins requests, and finds the place where a joined request can be halved again. Both need no
//! copy of the fields around the items: the resource entries of a request are independent of each
//! other.

use alloc::vec::Vec;

use crate::read::field::skip_field;

/// Merges valid requests of one signal: the result is their bytes, one behind the other.
pub fn merge<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let requests: Vec<&[u8]> = requests.into_iter().collect();
    requests.concat()
}

/// Returns the offset at which a valid request can be cut into two requests with equally many
/// resources. If their number is odd, the second one has one more.
///
/// Returns `None` if the request has one resource, because a resource is not cut. It also returns
/// `None` if a group (a deprecated form of a message, which no sender of OTLP writes) stands beside
/// the resources.
pub fn halving_point(request: &[u8]) -> Option<usize> {
    const RESOURCE: u32 = 1 << 3 | 2;
    const GROUP: u32 = 3;
    let mut starts = Vec::new();
    let mut rest = request;
    while !rest.is_empty() {
        let skipped = skip_field(rest).filter(|skipped| skipped.key & 7 != GROUP)?;
        if skipped.key == RESOURCE {
            starts.push(request.len() - rest.len());
        }
        rest = skipped.rest;
    }
    let middle = starts.len() / 2;
    starts.get(middle).copied().filter(|_| middle > 0)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Cuts are at the borders of resources, whatever stands between them, and a request that
    /// cannot be read is not cut.
    #[test]
    fn resources_are_borders() {
        let resource = |length: u8| [vec![0x0a, length], vec![0xff; length.into()]].concat();
        let large = [vec![0x0a, 0xc8, 0x01], vec![0; 200]].concat();
        // A varint, a fixed64, a fixed32 and a string with unknown numbers.
        let unknown = [
            0x78, 0x96, 0x01, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4, 0x7a, 1, 9,
        ];
        let halves = |parts: &[&[u8]]| halving_point(&parts.concat());
        let (one, two) = (resource(3), resource(0));
        assert_eq!(halves(&[&one, &two]), Some(5));
        assert_eq!(halves(&[&large, &one, &two]), Some(203));
        assert_eq!(halves(&[&one, &unknown, &two]), Some(5 + unknown.len()));
        assert_eq!(
            halves(&[&unknown, &one, &two, &two, &one]),
            Some(unknown.len() + 7)
        );
        assert_eq!(halves(&[&one, &unknown]), None);
        assert_eq!(halves(&[]), None);
        assert_eq!(halves(&[&one, &[0x0b, 0x0c], &two]), None, "a group");
        assert_eq!(halves(&[&one, &two, &[0x0a, 9]]), None, "cut off");
    }
}

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes, unreadable};
use crate::host::double;
use crate::{Held, IdHash, Moment, emission};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    name: String,
    counts: BTreeMap<String, u64>,
    by_id: HashMap<[u8; 2], Vec<Held>, IdHash>,
    began: Option<Moment>,
    #[serde(with = "super::flat")]
    ids: Vec<[u8; 24]>,
    #[serde(with = "super::flat")]
    id: [u8; 16],
    ratio: f64,
}

fn everything() -> Everything {
    Everything {
        name: "shop".to_owned(),
        counts: [("orders".to_owned(), 3)].into(),
        by_id: [([1, 2], vec![Held::new(1 << 40, 7), Held::new(2, 0)])]
            .into_iter()
            .collect(),
        began: Some(Moment::now()),
        ids: vec![[3; 24], [4; 24]],
        id: [5; 16],
        ratio: 0.25,
    }
}

/// Forgets the releases that dropping a test's handles causes.
fn forget<T>(value: T) {
    drop(value);
    emission::reset();
}

/// A state is read as it was written, including handles, and writing changes nothing.
#[test]
fn states_are_read_as_they_were_written() {
    let state = everything();
    let bytes = to_bytes(&state).unwrap();
    assert_eq!(to_bytes(&state), Some(bytes.clone()));
    let read: Everything = from_bytes(&bytes).unwrap();
    assert_eq!(read, state);
    assert_eq!(emission::count(), 0);
    forget((state, read));
}

/// A state that is cut anywhere or has extra bytes is refused in one line. The handles that were
/// read before that have no effect.
#[test]
fn damaged_states_are_refused_whole() {
    let state = everything();
    let bytes = to_bytes(&state).unwrap();
    for cut in 0..bytes.len() {
        let error = from_bytes::<Everything>(&bytes[..cut]).unwrap_err();
        assert_eq!(error, "the state ends too early", "cut at {cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = from_bytes::<Everything>(&longer).unwrap_err();
    assert_eq!(error, "the state goes on after its end");
    let mut no_utf8 = bytes;
    no_utf8[1] = 0xff;
    let error = from_bytes::<Everything>(&no_utf8).unwrap_err();
    assert!(error.starts_with("the state is damaged: "), "{error}");
    assert_eq!(error.lines().count(), 1);
    assert_eq!(emission::count(), 0);
    forget(state);
}

/// Any bytes at any place are read or refused. They never cause a panic, nor an allocation of the
/// size that a length claims.
#[test]
fn any_bytes_are_survived() {
    let state = everything();
    let bytes = to_bytes(&state).unwrap();
    for place in 0..bytes.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
            let mut other = bytes.clone();
            other[place] = value;
            if let Ok(read) = from_bytes::<Everything>(&other) {
                drop(read);
            }
        }
    }
    // The length claims 2^62 elements: more memory than there is.
    let claims = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    from_bytes::<Vec<u64>>(&claims).unwrap_err();
    from_bytes::<String>(&claims).unwrap_err();
    from_bytes::<HashMap<u64, [u64; 8]>>(&claims).unwrap_err();
    from_bytes::<Vec<Vec<String>>>(&claims).unwrap_err();
    forget(state);
}

/// Ids of another size than the plugin's are a damaged state.
#[test]
fn flat_values_have_their_size() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Ids<const N: usize>(#[serde(with = "super::flat")] Vec<[u8; N]>);
    let bytes = to_bytes(&Ids(vec![[1; 24]; 3])).unwrap();
    assert_eq!(from_bytes::<Ids<8>>(&bytes).unwrap().0.len(), 9);
    from_bytes::<Ids<16>>(&bytes).unwrap_err();
}

/// A time keeps its age, whatever the next clock shows, even before its start or in the future.
#[test]
fn moments_are_carried_by_age() {
    double::reset();
    double::advance(Duration::from_secs(100));
    let began = Moment::now();
    let due = began + Duration::from_secs(30);
    double::advance(Duration::from_secs(10));
    let bytes = to_bytes(&(began, due)).unwrap();
    double::reset();
    double::advance(Duration::from_secs(1));
    let (began, due) = from_bytes::<(Moment, Moment)>(&bytes).unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(due - Moment::now(), Duration::from_secs(20));
    assert_eq!(due.elapsed(), Duration::ZERO);
    assert_eq!(due - began, Duration::from_secs(30));
}

/// A state that cannot be written is no state, and the log says so.
#[test]
fn what_cannot_be_written_is_logged() {
    struct Unwritable;
    impl Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    double::reset();
    assert_eq!(to_bytes(&Unwritable), None);
    double::with(|double| {
        let (_, line) = double.logs.first().unwrap();
        assert!(line.starts_with("the state cannot be written: "), "{line}");
    });
}

/// An unknown version is refused with a line that names both versions.
#[test]
fn unknown_versions_are_named() {
    assert_eq!(
        unreadable(3, 2),
        "state version 3 is newer than 2, the newest that this plugin reads"
    );
    assert_eq!(
        unreadable(1, 2),
        "state version 1 is not read any more: this plugin's is 2"
    );
}

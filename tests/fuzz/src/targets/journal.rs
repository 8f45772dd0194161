//! After any change of a journal's files, it opens, returns the bytes that were written or none,
//! and continues to work, even if the changes have correct checksums.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use crc32c::crc32c_append;
use spandrel_journal::vfs::Memory;
use spandrel_journal::{OpenError, Options, Store, Sync};
use spandrel_pipeline::journal::{Journal as _, RecordError};
use tokio::runtime::{Builder, Runtime};

use crate::dice::Dice;

type Files = Vec<(PathBuf, Vec<u8>)>;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// Two journals: one that was closed and one whose process was killed.
static GOOD: LazyLock<[Files; 2]> = LazyLock::new(|| {
    let written = |closed: bool| {
        let memory = Memory::default();
        let files = RUNTIME.with(|runtime| runtime.block_on(write(&memory, closed)));
        assert!(files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > 20_000);
        files
    };
    [written(true), written(false)]
});

fn options() -> Options {
    Options {
        sync: Sync::None,
        max_bytes: 1 << 20,
        segment_bytes: 8 << 10,
        ..Options::new("/journal")
    }
}

/// Returns the content of a record.
fn payload(record: u64) -> Vec<u8> {
    let byte = record.to_le_bytes()[0];
    vec![byte; 100 + usize::from(byte) * 37 % 900]
}

async fn write(memory: &Memory, closed: bool) -> Files {
    let (store, _) = Store::open_on(Arc::new(memory.clone()), options()).unwrap();
    let (ingress, egress) = (store.ingress(), store.egress("otlp/1").unwrap());
    for number in 0..40 {
        for log in [&ingress, &egress] {
            let written = log.append(payload(number).into(), number + 1).await;
            assert_eq!(written.unwrap(), number);
            if number % 3 == 0 {
                log.finish(number);
            }
        }
    }
    ingress.set_attempts(vec![(1, 2), (2, 1)]).await.unwrap();
    if closed {
        store.close().unwrap();
    }
    let mut files = memory.files();
    files.retain(|(path, _)| path.file_name() != Some("lock".as_ref()));
    files
}

/// Runs one input. The bytes decide what changes.
pub(crate) fn run(input: &[u8]) {
    let mut dice = Dice::new(input.to_vec());
    let mut files = GOOD[dice.roll(2)].clone();
    for _ in 0..=dice.roll(8) {
        change(&mut dice, &mut files);
    }
    let memory = Memory::default();
    for (path, bytes) in &files {
        memory.put(path, bytes);
    }
    RUNTIME.with(|runtime| runtime.block_on(check(&memory)));
}

fn change(dice: &mut Dice, files: &mut Files) {
    if files.is_empty() {
        return;
    }
    let place = dice.roll(files.len());
    let other = files[dice.roll(files.len())].1.clone();
    let bytes = &mut files[place].1;
    // Most changes are near headers.
    let sector = dice.roll(bytes.len() / 512 + 1) * 512;
    let most = if dice.once_in(3) { 512 } else { 64 };
    let at = (sector + dice.roll(most)).min(bytes.len());
    match dice.roll(10) {
        0 => bytes.truncate(at),
        1 => drop(files.remove(place)),
        2 => *bytes = other,
        3 => {
            let end = (at + dice.roll(1024)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        4 => {
            let end = (at + 512).min(bytes.len()).min(other.len());
            if at < end {
                bytes[at..end].copy_from_slice(&other[at..end]);
            }
        }
        5 => {
            let word = dice.word().to_le_bytes();
            let end = (at & !7) + 8;
            if let Some(field) = bytes.get_mut(end - 8..end) {
                field.copy_from_slice(&word);
            }
            mend(bytes);
        }
        6 => {
            let text = dice.bytes(600);
            let path = files[place]
                .0
                .with_file_name(dice.text().replace(['/', '\0'], "_"));
            files.push((path, text));
        }
        kind => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (dice.byte() % 8);
            }
            if kind == 7 {
                mend(bytes);
            }
        }
    }
}

/// Corrects the checksums of all headers.
fn mend(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
    };
    let salt = word(bytes, 32).unwrap_or(0);
    let count = bytes.len() / 16;
    for at in (0..count).map(|index| index * 16) {
        let rest = &bytes[at..];
        let (place, length, start) = if rest.starts_with(b"spandSEG") {
            (8, 12..56, 0)
        } else if rest.starts_with(b"\xf5REC") {
            (4, 8..48, crc32c_append(0, &salt.to_le_bytes()))
        } else if rest.starts_with(b"spandCHK") {
            let lists = word(rest, 56)
                .unwrap_or(0)
                .saturating_add(word(rest, 64).unwrap_or(0));
            let lists = usize::try_from(lists).unwrap_or(usize::MAX);
            (8, 16..lists.saturating_mul(16).saturating_add(72), 0)
        } else {
            continue;
        };
        if let Some(body) = rest.get(length) {
            let checksum = crc32c_append(start, body).to_le_bytes();
            bytes[at + place..at + place + 4].copy_from_slice(&checksum);
        }
    }
}

async fn check(memory: &Memory) {
    // Recovery itself changes files: the second time it must find what the first one left.
    let Some(first) = open_and_add(memory).await else {
        return;
    };
    let again = Store::open_on(Arc::new(memory.clone()), options());
    let (store, recovered) = again.unwrap();
    assert!(recovered.ended_well());
    let log = store.ingress();
    for (record, bytes) in first {
        assert_eq!(log.read(record).await.unwrap(), bytes);
    }
}

/// Opens the journal, reads everything, and adds a record. Returns what is readable then.
async fn open_and_add(memory: &Memory) -> Option<BTreeMap<u64, Bytes>> {
    let (store, _) = match Store::open_on(Arc::new(memory.clone()), options()) {
        Ok(opened) => opened,
        // Files of a later version are refused.
        Err(OpenError::Newer { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let mut readable = BTreeMap::new();
    for log in [store.egress("otlp/1").unwrap(), store.ingress()] {
        readable.clear();
        for unfinished in log.unfinished(0, 1000) {
            match log.read(unfinished.record).await {
                Ok(bytes) => {
                    assert_eq!(bytes, payload(unfinished.record), "{unfinished:?}");
                    readable.insert(unfinished.record, bytes);
                }
                Err(RecordError::Damaged { .. }) => {}
                Err(RecordError::Failed(error)) => panic!("{error}"),
            }
        }
    }
    let log = store.ingress();
    let added = Bytes::from_static(b"after it");
    if let Ok(record) = log.append(added.clone(), 1).await {
        assert!(record >= log.first_new());
        readable.insert(record, added);
    }
    store.close().unwrap();
    Some(readable)
}

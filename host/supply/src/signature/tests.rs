//! Tests with keys and signatures in the form that `minisign` makes, made here.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{PublicKey, SignatureError, SignaturePolicy, SignatureSource, beside};

/// A secret key.
struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    fn new(seed: u8) -> Self {
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"),
            id: [seed; 8],
        }
    }

    fn public(&self) -> String {
        let bytes = [b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat();
        BASE64_STANDARD.encode(bytes)
    }

    fn sign_as(&self, algorithm: [u8; 2], message: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(message);
        let signature = signature.as_ref();
        let global = self.pair.sign(&[signature, comment.as_bytes()].concat());
        format!(
            "untrusted comment: made by a test\n{}\ntrusted comment: {comment}\n{}\n",
            BASE64_STANDARD.encode([&algorithm[..], &self.id, signature].concat()),
            BASE64_STANDARD.encode(global.as_ref()),
        )
    }

    /// Signs as `minisign -S` does.
    fn sign(&self, bytes: &[u8], comment: &str) -> String {
        let hash = blake2b_simd::blake2b(bytes);
        self.sign_as(*b"ED", hash.as_bytes(), comment)
    }
}

fn signing(keys: &[&Signer], signature: impl Into<SignatureSource>) -> SignaturePolicy {
    let keys = keys
        .iter()
        .map(|key| PublicKey::parse(&key.public()).expect("a key"));
    SignaturePolicy {
        keys: keys.collect(),
        comment: None,
        signature: signature.into(),
    }
}

impl From<String> for SignatureSource {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A real key and a real signature of the original program, over the bytes `test`, are understood.
#[test]
fn what_minisign_made_is_understood() {
    let key = "untrusted comment: minisign public key E7620F1842B4E81F\n\
               RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    let signature = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1556193335\tfile:test\n\
        y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n";
    let key = PublicKey::parse(key).expect("a key");
    assert_eq!(key.id().to_string(), "E7620F1842B4E81F");
    let signing = SignaturePolicy {
        keys: Arc::from([key]),
        comment: Some("file:test".into()),
        signature: signature.to_owned().into(),
    };
    assert!(signing.check(None, b"test").is_ok());
    let error = signing.check(None, b"tast").expect_err("other bytes");
    assert!(
        matches!(error, SignatureError::OtherBytes { .. }),
        "{error}"
    );
}

/// Both forms of a signature hold, by any of the keys that count.
#[test]
fn both_forms_by_any_key_hold() {
    let (one, other) = (Signer::new(1), Signer::new(2));
    let bytes = b"\0asm and more";
    for text in [
        other.sign(bytes, "release 7"),
        other.sign_as(*b"Ed", bytes, "release 6"),
    ] {
        let id = signing(&[&one, &other], text).check(None, bytes);
        assert_eq!(id.expect("signed").to_string(), "0202020202020202");
    }
}

/// Any changed byte of a module, of a signature or of its trusted comment is noticed.
#[test]
fn every_changed_byte_is_seen() {
    let signer = Signer::new(3);
    let bytes = b"\0asm and more".to_vec();
    let text = signer.sign(&bytes, "timestamp:1 file:p.wasm");
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let error = signing(&[&signer], text.clone()).check(None, &changed);
        assert!(matches!(error, Err(SignatureError::OtherBytes { .. })));
    }
    let lines: Vec<&str> = text.lines().collect();
    let start = lines[0].len() + 1;
    for place in start..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[place] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else {
            continue;
        };
        // A letter of base64 whose last bits are not used, and a line's end, mean the same.
        let checked = signing(&[&signer], changed.clone()).check(None, &bytes);
        assert!(checked.is_err(), "byte {place} of:\n{changed}");
    }
}

/// Each way in which a module is not signed as it must be has its own words.
#[test]
fn each_refusal_has_its_words() {
    let (ours, theirs) = (Signer::new(4), Signer::new(0xab));
    let bytes = b"\0asm";
    let words = |signing: &SignaturePolicy, path: Option<&Path>| {
        signing.check(path, bytes).expect_err("refused").to_string()
    };
    assert_eq!(
        words(&signing(&[&ours], theirs.sign(bytes, "")), None),
        "it is signed with key ABABABABABABABAB, and must be with key 0404040404040404: deploy what \
         that key has signed, or add the other one to the trusted keys"
    );
    assert_eq!(
        words(&signing(&[&ours], ours.sign(b"other", "")), None),
        "its signature by key 0404040404040404 was made of other bytes: one of both was changed \
         since; deploy the two files that belong together"
    );
    assert_eq!(
        words(&signing(&[&ours, &theirs], SignatureSource::Missing), None),
        "it must be signed by key 0404040404040404 or key ABABABABABABABAB, and came without a \
         signature: send one with it"
    );
    assert_eq!(
        words(
            &signing(&[&ours], SignatureSource::Beside),
            Some("/nowhere/p.wasm".as_ref())
        ),
        "it must be signed by key 0404040404040404, and there is no signature in \
         `/nowhere/p.wasm.minisig`: make one with `minisign -S`, or name it as `module.signature`"
    );
    for nonsense in ["", "a\nb\nc\nd", &"x".repeat(100)] {
        let words = words(&signing(&[&ours], nonsense.to_owned()), None);
        assert!(
            words.starts_with("the text given as its signature is not a minisign"),
            "{words}"
        );
    }
    // Somebody else's signature under our key's id is still refused.
    let forged = Signer {
        id: ours.id,
        ..theirs
    };
    assert!(words(&signing(&[&ours], forged.sign(bytes, "")), None).contains("other bytes"));
}

/// One key signs many modules, and many releases of each: if a comment is required, only a
/// signature with that comment is accepted.
#[test]
fn what_is_signed_as_something_else_is_refused() {
    let signer = Signer::new(7);
    let check = |comment: &str, expected: &str| {
        let signing = SignaturePolicy {
            comment: Some(expected.into()),
            ..signing(&[&signer], signer.sign(b"p", comment))
        };
        signing.check(None, b"p").map_err(|error| error.to_string())
    };
    let usual = "timestamp:17\tfile:tag-spans.wasm\thashed";
    for expected in ["file:tag-spans.wasm", "hashed timestamp:17", usual, ""] {
        assert!(check(usual, expected).is_ok(), "{expected}");
    }
    assert!(check("tag-spans 1.2.0", "tag-spans 1.2.0").is_ok());
    for (comment, expected) in [
        (usual, "file:tag"),
        (usual, "file:tag-spans.wasm timestamp:18"),
        ("drop-spans 1.2.0", "tag-spans"),
        ("tag-spans 1.1.0", "tag-spans 1.2.0"),
        ("", "tag-spans"),
    ] {
        check(comment, expected).expect_err(comment);
    }
    assert_eq!(
        check("old\u{7}", "new").expect_err("another"),
        "it is signed by key 0707070707070707 as `old\\u{7}`, and must be as `new`: deploy the plugin \
         and the release that are meant, or change `module.trusted_comment`"
    );
}

/// The signature is looked for beside the module, or in the place that is configured.
#[test]
fn the_signature_is_found_beside_the_module() {
    let directory = tempfile::tempdir().expect("a directory");
    let module = directory.path().join("p.wasm");
    let signer = Signer::new(5);
    std::fs::write(beside(&module), signer.sign(b"p", "")).expect("written");
    assert!(directory.path().join("p.wasm.minisig").is_file());
    let here = signing(&[&signer], SignatureSource::Beside);
    assert!(here.check(Some(&module), b"p").is_ok());
    let named = SignatureSource::File(beside(&module));
    assert!(signing(&[&signer], named).check(None, b"p").is_ok());
    std::fs::write(beside(&module), vec![b'x'; 70_000]).expect("written");
    let error = here.check(Some(&module), b"p").expect_err("too large");
    assert!(matches!(error, SignatureError::Read { .. }), "{error}");
}

/// Text that is not a key is refused.
#[test]
fn what_is_no_key_is_refused() {
    let key = Signer::new(6).public();
    for text in [
        "",
        "RW",
        "./release.pub",
        key.trim_start_matches('R'),
        &key.replacen("RW", "RX", 1),
    ] {
        assert!(PublicKey::parse(text).is_err(), "{text}");
    }
    assert!(PublicKey::parse(&format!("  {key} \n")).is_ok());
}

//! Keys and signatures in the format of `minisign`.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// A signer of plugins.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    /// Makes the signer with this number. It is always the same.
    ///
    /// # Errors
    /// Returns an error if no key can be made from the number.
    pub fn new(number: u8) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]);
        Ok(Self {
            pair: pair.ok().context("no key")?,
            id: [number; 8],
        })
    }

    /// Returns the public key in the notation of the config.
    pub fn public(&self) -> String {
        let bytes = [b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat();
        BASE64_STANDARD.encode(bytes)
    }

    /// Signs these bytes. Returns the text that `minisign -S` would write.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let comment = "timestamp:1\tfile:plugin.wasm\thashed";
        let signature = self.pair.sign(blake2b_simd::blake2b(bytes).as_bytes());
        let signature = signature.as_ref();
        let global = self.pair.sign(&[signature, comment.as_bytes()].concat());
        format!(
            "untrusted comment: signature from minisign secret key\n{}\ntrusted comment: {comment}\n{}\n",
            BASE64_STANDARD.encode([b"ED", &self.id[..], signature].concat()),
            BASE64_STANDARD.encode(global.as_ref()),
        )
    }

    /// Signs a file and writes the signature next to it.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or the signature cannot be written.
    pub fn sign_file(&self, file: &Path) -> Result<()> {
        let mut path = file.as_os_str().to_owned();
        path.push(".minisig");
        let signature = self.sign(&std::fs::read(file)?);
        std::fs::write(path, signature).context("cannot write the signature")
    }
}

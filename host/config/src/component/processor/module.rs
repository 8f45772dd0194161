//! `module` of a stage: the place of its plugin, and the proof that it is the right one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spandrel_fetch::{Source, Url};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::{PublicKey, SignatureSource};

use crate::plugins::{Plugins, key, list};
use crate::text::section::Section;
use crate::text::tree::Value;

/// A stage's plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The place of the plugin.
    pub place: Place,
    /// The digest that its bytes must have.
    pub sha256: Option<Digest>,
    /// The keys of which one must have signed everything that runs in the stage, if it must be
    /// signed.
    pub keys: Option<Arc<[PublicKey]>>,
    /// The trusted comment that the signature must have.
    pub trusted_comment: Option<Arc<str>>,
}

/// The place of a plugin and of its signature.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A file of this machine.
    File {
        /// Its path.
        path: PathBuf,
        /// The place of its signature.
        signature: SignatureSource,
    },
    /// Another machine.
    Remote {
        /// The URL or artifact to fetch.
        source: Source,
        /// The place of its signature, if not beside it.
        signature: Option<Url>,
        /// The reaction if it cannot be fetched.
        on_unreachable: OnUnreachable,
    },
}

/// The reaction at the start if a plugin is neither available from its place nor in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnreachable {
    /// The collector does not start.
    #[default]
    Fail,
    /// The collector starts, and batches pass the stage unchanged until the plugin is there.
    Pass,
}

impl Module {
    /// Returns its file if it is on this machine. Such a file is watched.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::Remote { .. } => None,
        }
    }

    /// Returns the file with its signature, if it must be signed. That file may come after the
    /// module.
    pub fn signature_file(&self) -> Option<PathBuf> {
        let Place::File { path, signature } = &self.place else {
            return None;
        };
        self.keys.as_ref()?;
        match signature {
            SignatureSource::Beside => Some(spandrel_plugin::signature::beside(path)),
            SignatureSource::File(path) => Some(path.clone()),
            SignatureSource::Text(_) | SignatureSource::Missing => None,
        }
    }

    /// Returns true if this file is the module or its signature.
    pub fn has_file(&self, file: &Path) -> bool {
        self.file() == Some(file) || self.signature_file().as_deref() == Some(file)
    }

    /// Returns true if a module that was admitted under the rules `before` may run under these. Its
    /// signer is not remembered, so it counts as unsigned if these rules require other keys or
    /// another comment.
    pub fn still_allows(&self, before: &Self, module: Digest) -> bool {
        let asks_the_same =
            self.keys == before.keys && self.trusted_comment == before.trusted_comment;
        self.sha256.is_none_or(|pinned| pinned == module) && (self.keys.is_none() || asks_the_same)
    }

    /// Returns true if the collector starts without it.
    pub fn may_be_missing(&self) -> bool {
        matches!(
            self.place,
            Place::Remote {
                on_unreachable: OnUnreachable::Pass,
                ..
            }
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Remote { source, .. } => source.fmt(f),
        }
    }
}

const EXAMPLE: &str = "./plugins/my_plugin.wasm";

/// Reads `module: path`, or
/// `module: { file | url, sha256, signature, public_keys, trusted_comment }`.
pub(crate) fn read(section: &Section<'_>, plugins: &Plugins) -> Option<Module> {
    section.required("module", EXAMPLE);
    if !section.is_map("module") {
        let text = section.string("module")?;
        let place = match Source::is_remote(&text) {
            true => section.parsed("module", |text| remote(text, None, OnUnreachable::Fail))?,
            false => file(&text, None),
        };
        return checked(section, "module", place, Proof::default(), plugins);
    }
    let module = section.section("module");
    let sha256 = module.parsed("sha256", |text| {
        let mut digest = [0; 32];
        let decoded = hex::decode_to_slice(text, &mut digest);
        decoded
            .map(|()| Digest(digest))
            .map_err(|_| "write the 64 hex digits that sha256sum prints".to_owned())
    });
    let own_keys = list(&module, "public_keys", key);
    // A list that is empty by mistake must not mean that no signature is needed.
    let is_blank = match module.node("public_keys").map(|node| &node.value) {
        Some(Value::List(keys)) => keys.is_empty(),
        Some(_) => false,
        None => module.has("public_keys"),
    };
    if is_blank {
        module.wrong_key(
            "public_keys",
            "there is no key in it",
            "add one, or leave the key out",
        );
    }
    let own_keys = (!own_keys.is_empty()).then_some(own_keys);
    let comment = module.parsed("trusted_comment", |text| {
        let has_words = !text.trim().is_empty();
        let words = "write words of the trusted comment, such as file:tag.wasm";
        has_words
            .then(|| text.into())
            .ok_or_else(|| words.to_owned())
    });
    let has_signature = module.has("signature");
    let place = read_place(&module)?;
    if has_signature && own_keys.is_none() && plugins.trusted_keys.is_empty() {
        module.wrong_key(
            "signature",
            "no key is known that may have made it",
            "add `public_keys: [RW...]` here, or `trusted_keys` to `service::plugins`",
        );
    }
    let trusted = || plugins.trusted_keys.clone();
    let keys = own_keys.or_else(|| has_signature.then(trusted));
    let proof = Proof {
        sha256,
        keys,
        comment,
    };
    checked(&module, "", place, proof, plugins)
}

/// The configured parts of the proof of a module.
#[derive(Default)]
struct Proof {
    sha256: Option<Digest>,
    keys: Option<Vec<PublicKey>>,
    comment: Option<Arc<str>>,
}

fn read_place(module: &Section<'_>) -> Option<Place> {
    if !module.has("url") {
        module.required("file", EXAMPLE);
        let signature = module.string("signature");
        return Some(file(&module.string("file")?, signature));
    }
    if module.has("file") {
        module.wrong("`file` and `url` are two modules", "give one of them");
    }
    let choices = [("fail", OnUnreachable::Fail), ("pass", OnUnreachable::Pass)];
    let on_unreachable = module.choice("on_unreachable", OnUnreachable::Fail, &choices);
    let signature = module.parsed("signature", Url::parse);
    module.parsed("url", |text| remote(text, signature, on_unreachable))
}

fn file(path: &str, signature: Option<String>) -> Place {
    Place::File {
        path: PathBuf::from(path),
        signature: match signature {
            Some(path) => SignatureSource::File(PathBuf::from(path)),
            None => SignatureSource::Beside,
        },
    }
}

fn remote(
    text: &str,
    signature: Option<Url>,
    on_unreachable: OnUnreachable,
) -> Result<Place, String> {
    Ok(Place::Remote {
        source: Source::parse(text)?,
        signature,
        on_unreachable,
    })
}

/// Returns the module if the proof that it needs is complete.
fn checked(
    section: &Section<'_>,
    key: &'static str,
    place: Place,
    proof: Proof,
    plugins: &Plugins,
) -> Option<Module> {
    let Proof {
        sha256,
        keys,
        comment,
    } = proof;
    let wrong = |what: &str, instead: &str| match key {
        "" => section.wrong(what, instead),
        key => section.wrong_key(key, what, instead),
    };
    let keys = match keys {
        None if plugins.require_signed => Some(plugins.trusted_keys.clone()),
        keys => keys,
    };
    if plugins.require_signed && keys.as_ref().is_some_and(Vec::is_empty) {
        wrong(
            "it must be signed (`require_signed`), and no key is known that may have done it",
            "add `trusted_keys: [RW...]` to `service::plugins`",
        );
    }
    if comment.is_some() && keys.is_none() {
        wrong(
            "`trusted_comment` is of a signature, and it need not be signed",
            "add `public_keys: [RW...]`",
        );
    }
    if let Place::Remote { source, .. } = &place {
        if sha256.is_none() && keys.is_none() && source.digest().is_none() {
            wrong(
                "nothing says what must come from there",
                "add `sha256`, `public_keys`, or @sha256:... to the name of an oci:// artifact",
            );
        }
        if let Err(error) = plugins.fetch.may_ask(source) {
            wrong(
                &error.to_string(),
                "a host is listed before anything is fetched from it",
            );
        }
    }
    Some(Module {
        place,
        sha256,
        keys: keys.filter(|keys| !keys.is_empty()).map(Arc::from),
        trusted_comment: comment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that ran under other rules may run again only if it fits the current ones. Its
    /// digest is known, but its signer is not.
    #[test]
    fn what_ran_under_other_rules_is_not_allowed_unseen() {
        let (ours, other) = (Digest([1; 32]), Digest([2; 32]));
        let key = PublicKey::parse("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3");
        let keys: Arc<[PublicKey]> = Arc::from([key.expect("a key")]);
        let open = Module {
            place: file("p.wasm", None),
            sha256: None,
            keys: None,
            trusted_comment: None,
        };
        let pinned = |sha256| Module {
            sha256: Some(sha256),
            ..open.clone()
        };
        let signed = |comment: Option<&str>| Module {
            keys: Some(Arc::clone(&keys)),
            trusted_comment: comment.map(Arc::from),
            ..open.clone()
        };
        for (now, before, is_allowed) in [
            (open.clone(), open.clone(), true),
            (pinned(ours), open.clone(), true),
            (pinned(other), pinned(ours), false),
            (open.clone(), pinned(other), true),
            (signed(None), open.clone(), false),
            (signed(None), signed(None), true),
            (open.clone(), signed(None), true),
            (signed(Some("p")), signed(None), false),
        ] {
            assert_eq!(now.still_allows(&before, ours), is_allowed, "{now:?}");
        }
    }
}

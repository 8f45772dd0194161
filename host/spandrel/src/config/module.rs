//! `module` of a stage: where its plugin is, and what proves that it is the right one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spandrel_fetch::{Source, Url};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::{PublicKey, SignatureSource};

use super::plugins::{Plugins, key, list};
use super::section::Section;
use super::tree::Value;

/// A stage's plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Where it is.
    pub place: Place,
    /// What its bytes must hash to.
    pub sha256: Option<Digest>,
    /// Whose signature everything that runs in the stage must have, where it must have one.
    pub keys: Option<Arc<[PublicKey]>>,
    /// The words that the signature's trusted comment must have.
    pub trusted_comment: Option<Arc<str>>,
}

/// Where a plugin is, and its signature.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A file of this machine.
    File {
        /// Its path.
        path: PathBuf,
        /// Where its signature is.
        signature: SignatureSource,
    },
    /// Somewhere else.
    Remote {
        /// There.
        source: Source,
        /// Where its signature is, if not beside it.
        signature: Option<Url>,
        /// What happens when it is not to be had.
        on_unreachable: OnUnreachable,
    },
}

/// What happens at the start when a plugin is not to be had: neither from where it is, nor from what was
/// kept of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnreachable {
    /// The collector does not start.
    #[default]
    Fail,
    /// It starts, and batches pass the stage as they came until the plugin is there.
    Pass,
}

impl Module {
    /// Its file, if it is one of this machine: such a one is watched.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::Remote { .. } => None,
        }
    }

    /// The file with its signature, where it must have one: it may come after the module.
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

    /// Whether it is made of this file.
    pub fn has_file(&self, file: &Path) -> bool {
        self.file() == Some(file) || self.signature_file().as_deref() == Some(file)
    }

    /// Whether what was let in under the rules `before` may run under these. Whose signature it has is
    /// not known any more, so it counts as none once others are asked for.
    pub fn still_allows(&self, before: &Self, module: Digest) -> bool {
        let asks_the_same =
            self.keys == before.keys && self.trusted_comment == before.trusted_comment;
        self.sha256.is_none_or(|pinned| pinned == module) && (self.keys.is_none() || asks_the_same)
    }

    /// Whether the collector starts without it.
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

/// `module: path`, or `module: { file | url, sha256, signature, public_keys, trusted_comment }`.
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
    // A list that is empty by mistake must not mean that nobody has to sign.
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

/// What is written of what proves a module.
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

/// The module, when it is clear what it must be.
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

    /// What ran under other rules may run again where it fits those of now: its digest is known, who
    /// signed it is not.
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

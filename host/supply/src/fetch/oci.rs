//! Pulls artifacts of one module from a registry, by the OCI distribution specification.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header;
use serde::Deserialize;

use crate::digest::Digest;
use crate::fetch::client::{Client, GetRequest, GetResponse, text};
use crate::fetch::error::FetchError;
use crate::fetch::source::{Reference, Url};

/// The largest manifest in bytes. Registries must accept 4 MiB; one of ours has a kilobyte.
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// The largest answer that brings a token, in bytes.
const TOKEN_BYTES: u64 = 64 << 10;
/// The types that are asked for: manifests of one artifact, in both notations.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// The annotation in which tools write a layer's file name.
const TITLE: &str = "org.opencontainers.image.title";

/// One layer of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The layers of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactLayers {
    pub(crate) module: Layer,
    /// The layer of a file whose name ends with `.minisig`.
    pub(crate) signature: Option<Layer>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl ArtifactLayers {
    /// Reads a manifest; the error says what is wrong with it.
    pub(crate) fn parse(manifest: &[u8]) -> Result<Self, String> {
        let manifest: Manifest = serde_json::from_slice(manifest)
            .map_err(|error| format!("its manifest is bad: {error}"))?;
        if !manifest.manifests.is_empty() {
            return Err(
                "it is an index of several artifacts: name one of them by its digest".to_owned(),
            );
        }
        let title = |layer: &Descriptor| layer.annotations.get(TITLE).cloned().unwrap_or_default();
        let is_module = |layer: &&Descriptor| {
            let kind = layer.media_type.as_str();
            kind == "application/wasm"
                || (kind.starts_with("application/vnd.") && kind.ends_with("+wasm"))
        };
        let mut modules = manifest.layers.iter().filter(is_module);
        let (Some(module), None) = (modules.next(), modules.next()) else {
            return Err("it must have one layer of the type application/wasm".to_owned());
        };
        let mut signatures = manifest
            .layers
            .iter()
            .filter(|layer| title(layer).ends_with(".minisig"));
        Ok(Self {
            module: layer(module)?,
            signature: signatures.next().map(layer).transpose()?,
        })
    }
}

fn layer(descriptor: &Descriptor) -> Result<Layer, String> {
    let digest = Digest::from_oci(&descriptor.digest);
    Ok(Layer {
        digest: digest.ok_or("its layer has no sha256")?,
        size: descriptor.size,
    })
}

/// One pull. A token is requested once and serves all of it.
pub(crate) struct Pull<'a> {
    client: &'a Client,
    reference: &'a Reference,
    authorization: Option<String>,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(client: &'a Client, reference: &'a Reference) -> Self {
        Self {
            client,
            reference,
            authorization: None,
        }
    }

    /// Fetches the manifest. It has the digest that the reference names, if it names one.
    pub(crate) async fn manifest(&mut self) -> Result<Bytes, FetchError> {
        let path = format!("manifests/{}", self.reference.digest_or_tag());
        let bytes = self.get(&path, MANIFESTS, MANIFEST_BYTES).await?;
        check(&self.reference.to_string(), self.reference.digest, &bytes)?;
        Ok(bytes)
    }

    /// Fetches a layer, and checks its digest.
    pub(crate) async fn layer(
        &mut self,
        layer: &Layer,
        limit_bytes: u64,
    ) -> Result<Bytes, FetchError> {
        if layer.size > limit_bytes {
            return Err(FetchError::TooLarge {
                name: self.reference.to_string(),
                limit_bytes,
            });
        }
        let path = format!("blobs/{}", layer.digest.to_oci());
        let bytes = self.get(&path, "application/wasm, */*", layer.size).await?;
        check(&self.reference.to_string(), Some(layer.digest), &bytes)?;
        Ok(bytes)
    }

    async fn get(
        &mut self,
        path: &str,
        accept: &str,
        limit_bytes: u64,
    ) -> Result<Bytes, FetchError> {
        let url = self.client.settings.registry(self.reference, path);
        let mut answer = self.ask(&url, accept, limit_bytes).await?;
        if answer.status == 401 && self.authorization.is_none() {
            self.authorization = Some(self.authorize(&url, &answer).await?);
            answer = self.ask(&url, accept, limit_bytes).await?;
        }
        whole(&url, answer)
    }

    async fn ask(
        &self,
        url: &Url,
        accept: &str,
        limit_bytes: u64,
    ) -> Result<GetResponse, FetchError> {
        let request = GetRequest {
            url,
            accept,
            authorization: self.authorization.as_deref(),
            limit_bytes,
        };
        self.client.get(request).await
    }

    /// Returns the authorization that the registry asks for: a password, or a token that another
    /// host issues. That host, too, must be one that may be asked.
    ///
    /// The registry names that token host, and gets the token. So the token host is shown the
    /// registry's own password, never the one that is kept for the token host: otherwise a registry
    /// could have a token made for a third one.
    async fn authorize(&self, url: &Url, answer: &GetResponse) -> Result<String, FetchError> {
        let wrong = |problem: &str| FetchError::Answer {
            name: url.to_string(),
            problem: problem.to_owned(),
        };
        let asked = text(&answer.headers, header::WWW_AUTHENTICATE).unwrap_or_default();
        let (scheme, parameters) = asked.split_once(' ').unwrap_or((asked, ""));
        let password = self.client.settings.password(url);
        if scheme.eq_ignore_ascii_case("basic") {
            return password.ok_or_else(|| {
                wrong("it asks for a password: add it to `service::plugins::credentials`")
            });
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(wrong("it asks for an authorization of an unknown kind"));
        }
        let parameters = parameters_of(parameters);
        let realm = parameters
            .get("realm")
            .and_then(|realm| Url::parse(realm).ok());
        let realm = realm.ok_or_else(|| wrong("it does not say where tokens are given out"))?;
        let (_, query) = realm.path.split_once('?').unwrap_or_default();
        let mut named = form_urlencoded::parse(query.as_bytes());
        if named.any(|(name, _)| name.eq_ignore_ascii_case("scope")) {
            return Err(wrong("it asks for a token of its own choice"));
        }
        let query = self.query(parameters.get("service").map(String::as_str));
        let joint = if realm.path.contains('?') { '&' } else { '?' };
        let url = Url {
            path: format!("{}{joint}{query}", realm.path),
            ..realm
        };
        let password = password.filter(|_| url.is_secure);
        let request = GetRequest {
            url: &url,
            accept: "application/json",
            authorization: password.as_deref(),
            limit_bytes: TOKEN_BYTES,
        };
        let token = whole(&url, self.client.get(request).await?)?;
        token_of(&token).ok_or_else(|| FetchError::Answer {
            name: url.to_string(),
            problem: "it gives out no token".to_owned(),
        })
    }
}

impl Pull<'_> {
    /// Returns the query for the host that issues tokens.
    fn query(&self, service: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        // This scope is enough, so no other is requested, whatever the registry suggests.
        let scope = format!("repository:{}:pull", self.reference.repository);
        query.append_pair("scope", &scope);
        query.finish()
    }
}

fn token_of(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Token = serde_json::from_slice(answer).ok()?;
    let token = answer.token.or(answer.access_token)?;
    (!token.is_empty()).then(|| format!("Bearer {token}"))
}

/// Parses `realm="https://...",service="..."`.
fn parameters_of(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(name, value.to_owned());
        rest = after;
    }
    parameters
}

/// Returns the body if the status is 200.
pub(crate) fn whole(url: &Url, answer: GetResponse) -> Result<Bytes, FetchError> {
    match answer.status {
        200 => Ok(answer.body),
        status => Err(FetchError::Status {
            name: url.to_string(),
            status,
        }),
    }
}

/// Checks that the bytes have the pinned digest, if there is one.
pub(crate) fn check(name: &str, pinned: Option<Digest>, bytes: &[u8]) -> Result<(), FetchError> {
    let found = Digest::of(bytes);
    match pinned.filter(|pinned| *pinned != found) {
        None => Ok(()),
        Some(pinned) => Err(FetchError::Digest {
            name: name.to_owned(),
            pinned,
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A challenge is parsed, whatever else is in it.
    #[test]
    fn challenges_are_read() {
        let read =
            parameters_of(r#"realm="https://a/token?x=y",Service="a, b", scope=pull,error="#);
        let read: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            read,
            [
                ("error", ""),
                ("realm", "https://a/token?x=y"),
                ("scope", "pull"),
                ("service", "a, b")
            ]
        );
        for nonsense in ["", "=", "===", "\"", "a=\"", "a=\"b", ",,,=,"] {
            parameters_of(nonsense);
        }
    }

    /// The one layer with a module is found, and its signature; any other manifest is an error.
    #[test]
    fn manifests_are_read() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let wasm = |kind: &str| {
            format!(
                r#"{{"mediaType":"{kind}","digest":"{}","size":7}}"#,
                digest("a")
            )
        };
        let signature = format!(
            r#"{{"mediaType":"text/plain","digest":"{}","size":9,"annotations":{{"{TITLE}":"p.wasm.minisig"}}}}"#,
            digest("b")
        );
        let of = |layers: &[&str]| {
            ArtifactLayers::parse(format!(r#"{{"layers":[{}]}}"#, layers.join(",")).as_bytes())
        };
        for kind in [
            "application/wasm",
            "application/vnd.wasm.content.layer.v1+wasm",
            "application/vnd.module.wasm.content.layer.v1+wasm",
        ] {
            let artifact = of(&[&signature, &wasm(kind)]).expect(kind);
            assert_eq!(artifact.module.size, 7);
            assert_eq!(artifact.signature.map(|layer| layer.size), Some(9));
        }
        let one = wasm("application/wasm");
        assert!(of(&[&one, &one]).is_err());
        assert!(of(&[&signature]).is_err());
        assert!(of(&[&one.replace("sha256", "sha512")]).is_err());
        assert!(ArtifactLayers::parse(b"{}").is_err() && ArtifactLayers::parse(b"x").is_err());
        let index = ArtifactLayers::parse(br#"{"manifests":[{}]}"#).expect_err("an index");
        assert!(index.contains("index"), "{index}");
    }
}

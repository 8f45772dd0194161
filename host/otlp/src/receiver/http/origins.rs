//! Cross-origin resource sharing: which pages of browsers may send requests, by the rules of the Fetch
//! standard.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::receiver::settings::Cors;

/// The headers that every request of OTLP/HTTP may have. They are allowed beside those that are
/// configured: the Collector's list replaces its defaults, and then browsers send nothing.
const USUAL: [&str; 6] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    "origin",
    "x-requested-with",
];

/// The pages that may send requests.
#[derive(Debug)]
pub(super) struct Origins {
    cors: Cors,
}

impl Origins {
    pub(super) fn new(cors: Cors) -> Self {
        Self { cors }
    }

    /// Returns the headers of the answer to a preflight, with which a browser asks whether a page may
    /// send; `None` if the request is no preflight.
    pub(super) fn preflight(&self, head: &Parts) -> Option<HeaderMap> {
        let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if head.method != Method::OPTIONS {
            return None;
        }
        let mut answer = HeaderMap::new();
        let asked = header::ACCESS_CONTROL_REQUEST_HEADERS;
        for name in [
            &header::ORIGIN,
            &header::ACCESS_CONTROL_REQUEST_METHOD,
            &asked,
        ] {
            answer.append(header::VARY, HeaderValue::from(name.clone()));
        }
        let asked = head.headers.get_all(asked);
        let mut asked = asked.iter().flat_map(names);
        let allowed = |name: &[u8]| self.allows_header(name);
        if method != "POST" || !asked.all(allowed) {
            return Some(answer);
        }
        let Some(origin) = self.allowed(&head.headers) else {
            return Some(answer);
        };
        allow(&mut answer, origin);
        let post = HeaderValue::from_static("POST");
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, post);
        for names in head.headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.append(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        if self.cors.max_age > 0 {
            let age = HeaderValue::from(self.cors.max_age);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, age);
        }
        Some(answer)
    }

    /// Adds what lets the page read the answer to its request, whatever that says.
    pub(super) fn open(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.allowed(request) else {
            return;
        };
        allow(response, origin);
        for name in &self.cors.exposed_headers {
            if let Ok(name) = HeaderValue::from_str(name) {
                response.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, name);
            }
        }
    }

    /// Returns the origin of a request if it may send.
    fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let mut origins = self.cors.allowed_origins.iter();
        let same = |known: &String| matches(known.as_bytes(), origin.as_bytes());
        origins.any(same).then_some(origin)
    }

    fn allows_header(&self, name: &[u8]) -> bool {
        let same = |known: &str| known == "*" || name.eq_ignore_ascii_case(known.as_bytes());
        USUAL.into_iter().any(same) || self.cors.allowed_headers.iter().any(|known| same(known))
    }
}

/// Returns the names in a list that a header has.
fn names(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let names = list.as_bytes().split(|byte| *byte == b',');
    names
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

/// Lets a page read an answer. Its origin is named, because browsers do not take `*` from a page that
/// sends credentials.
fn allow(answer: &mut HeaderMap, origin: &HeaderValue) {
    let yes = HeaderValue::from_static("true");
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes),
    ] {
        let name: HeaderName = name;
        answer.insert(name, value);
    }
}

/// Returns true if an origin is the known one, in which one `*` stands for any characters.
fn matches(known: &[u8], origin: &[u8]) -> bool {
    let Some(star) = known.iter().position(|byte| *byte == b'*') else {
        return known.eq_ignore_ascii_case(origin);
    };
    let (before, after) = known.split_at(star);
    let after = after.get(1..).unwrap_or_default();
    origin.len() >= before.len() + after.len()
        && origin
            .get(..before.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(before))
        && origin
            .get(origin.len() - after.len()..)
            .is_some_and(|end| end.eq_ignore_ascii_case(after))
}

#[cfg(test)]
mod tests;

//! Reads the keys of a query, the part of a URL after the `?`.

use std::str::FromStr;
use std::time::Duration;

use spandrel_collector::report::SwapRequest;
use spandrel_config::duration;
use spandrel_supply::Digest;

/// The longest time that an answer is held back for events, shorter than what proxies in between
/// allow.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The part of the history that is requested.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HistoryQuery {
    /// The sequence of the last event that is known already.
    pub(super) after: u64,
    /// The time to wait for a newer event.
    pub(super) wait: Duration,
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned()
}

/// Checks the query of a path that takes no keys.
pub(super) fn nothing(query: Option<&str>) -> Result<(), String> {
    match pairs(query).next() {
        Some((key, _)) => Err(format!("unknown key `{key}`; no keys are known here")),
        None => Ok(()),
    }
}

pub(super) fn since(query: Option<&str>) -> Result<HistoryQuery, String> {
    let mut since = HistoryQuery::default();
    for (key, value) in pairs(query) {
        match key.as_str() {
            "after" => since.after = parsed("after", &value, "the sequence of an event")?,
            "wait" => {
                let wait =
                    duration::parse(&value).ok_or("`wait` must be a duration such as 10s")?;
                if wait > LONGEST_WAIT {
                    return Err(format!("`wait` must be at most {LONGEST_WAIT:?}"));
                }
                since.wait = wait;
            }
            _ => return Err(unknown(&key, "after, wait")),
        }
    }
    Ok(since)
}

/// Reads a swap whose module is the body.
pub(super) fn swap(query: Option<&str>) -> Result<SwapRequest, String> {
    let mut request = SwapRequest::default();
    for (key, value) in pairs(query) {
        match key.as_str() {
            "sha256" => request.sha256 = Some(value),
            "signature" => request.signature = Some(value),
            "config" => {
                let config = serde_json::from_str(&value)
                    .map_err(|error| format!("`config` is not JSON: {error}"))?;
                request.config = Some(config);
            }
            "dry_run" => request.dry_run = parsed("dry_run", &value, "true or false")?,
            "canary" => request.canary = Some(parsed("canary", &value, "a number of percents")?),
            "shadow" => request.shadow = parsed("shadow", &value, "true or false")?,
            "no_probation" | "expect_drops" => watch(&mut request, &key, &value)?,
            "module" => {
                return Err("`module` and a body are two modules; give one of them".to_owned());
            }
            _ => {
                return Err(unknown(
                    &key,
                    "sha256, signature, config, dry_run, canary, shadow, no_probation, expect_drops",
                ));
            }
        }
    }
    Ok(request)
}

/// Reads a promotion, which says how the published generation is watched.
pub(super) fn promotion(query: Option<&str>) -> Result<SwapRequest, String> {
    let mut request = SwapRequest::default();
    for (key, value) in pairs(query) {
        match key.as_str() {
            "no_probation" | "expect_drops" => watch(&mut request, &key, &value)?,
            _ => return Err(unknown(&key, "no_probation, expect_drops")),
        }
    }
    Ok(request)
}

fn watch(request: &mut SwapRequest, key: &str, value: &str) -> Result<(), String> {
    let value = parsed(key, value, "true or false")?;
    match key {
        "no_probation" => request.no_probation = value,
        _ => request.expect_drops = value,
    }
    Ok(())
}

fn parsed<T: FromStr>(key: &str, value: &str, expected: &str) -> Result<T, String> {
    let value = value.parse();
    value.map_err(|_| format!("`{key}` must be {expected}"))
}

fn unknown(key: &str, known: &str) -> String {
    format!("unknown key `{key}`; known keys: {known}")
}

/// Checks for requests that make no sense for any swap, in the query or in JSON.
pub(super) fn check(request: &SwapRequest) -> Result<(), String> {
    if let Some(digest) = &request.sha256
        && digest.parse::<Digest>().is_err()
    {
        return Err("`sha256` must be 64 hex digits, as `sha256sum` prints them".to_owned());
    }
    if request.module.as_deref() == Some("") {
        return Err("`module` must be a path; leave it out for the stage's own file".to_owned());
    }
    if let Some(share) = request.canary {
        if !(share > 0.0 && share <= 100.0) {
            return Err("`canary` must be more than 0 and at most 100 percent".to_owned());
        }
        if request.shadow {
            return Err("`canary` and `shadow` exclude each other; give one of them".to_owned());
        }
    }
    if request.as_configured && (request.module.is_some() || request.config.is_some()) {
        return Err(
            "`as_configured` takes module and config of the configuration; give no others"
                .to_owned(),
        );
    }
    let is_beside = request.canary.is_some() || request.shadow;
    if request.no_probation && request.expect_drops {
        return Err(
            "`no_probation` and `expect_drops` exclude each other; give one of them".to_owned(),
        );
    }
    if request.no_probation && is_beside {
        return Err(
            "`no_probation` does not apply to a canary or shadow: give it when you promote one"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The query of an upload is its request.
    #[test]
    fn an_upload_is_described_by_its_query() {
        let query = "dry_run=true&canary=12.5&config=%7B%22a%22%3A+1%7D";
        let request = swap(Some(query)).expect("a good one");
        assert!(request.dry_run && !request.shadow);
        assert_eq!(request.canary, Some(12.5));
        assert_eq!(request.config, Some(serde_json::json!({ "a": 1 })));
    }

    /// Every wrong key or value is named.
    #[test]
    fn what_is_wrong_is_named() {
        for query in [
            "module=a.wasm",
            "config=%7B",
            "dry_run=yes",
            "canary=ten",
            "shadow=1",
            "no_probation=1",
            "expect_drops=yes",
            "colour=red",
        ] {
            let key = query.split('=').next().unwrap_or_default();
            let error = swap(Some(query)).expect_err(query);
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        for query in ["after=-1", "after=", "wait=5", "wait=31s", "until=5"] {
            let key = query.split('=').next().unwrap_or_default();
            let error = since(Some(query)).expect_err(query);
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        let known = since(Some("after=7&wait=30s")).expect("a good one");
        assert_eq!(known.after, 7);
        assert_eq!(known.wait, Duration::from_secs(30));
        assert!(nothing(Some("")).is_ok() && nothing(None).is_ok());
        assert!(nothing(Some("a=b")).is_err());
    }

    /// Requests that contradict themselves are refused.
    #[test]
    fn what_no_swap_can_mean_is_refused() {
        for json in [
            r#"{"sha256":"abc"}"#,
            r#"{"module":""}"#,
            r#"{"canary":0}"#,
            r#"{"canary":100.5}"#,
            r#"{"canary":10,"shadow":true}"#,
            r#"{"canary":10,"no_probation":true}"#,
            r#"{"shadow":true,"no_probation":true}"#,
            r#"{"no_probation":true,"expect_drops":true}"#,
            r#"{"as_configured":true,"module":"a.wasm"}"#,
            r#"{"as_configured":true,"config":{}}"#,
        ] {
            let request: SwapRequest = serde_json::from_str(json).expect("JSON");
            assert!(check(&request).is_err(), "{json}");
        }
        assert!(check(&SwapRequest::default()).is_ok());
    }
}

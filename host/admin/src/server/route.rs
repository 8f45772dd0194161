//! Maps paths to requests.

use percent_encoding::percent_decode_str;
use spandrel_collector::quarantines::Action;
use spandrel_collector::report::StageView;
use spandrel_collector::status::Status;
use spandrel_config::suggest::closest;

/// The request that a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    ReadRequest(ReadRequest),
    Change(ChangeRequest),
}

/// Requests with GET.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadRequest {
    Pipelines,
    Stages,
    Stage(String),
    Shadow(String),
    /// The history of one stage, or of all.
    History(Option<String>),
    Ledger,
    /// All batches, or one.
    Quarantine(Option<String>),
    Version,
}

/// A request with POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChangeRequest {
    pub(super) what: ChangeKind,
    /// The stage, or the batch in quarantine; empty for all.
    pub(super) name: String,
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Swap,
    Rollback,
    Promote,
    Cancel,
    Reload,
    Quarantine(Action),
}

impl ChangeKind {
    /// Returns the word in the path and in the log.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
            Self::Cancel => "cancel",
            Self::Reload => "reload",
            Self::Quarantine(Action::Replay) => "replay",
            Self::Quarantine(Action::Drop) => "drop",
        }
    }
}

impl Route {
    /// Returns the route of a path. The error says what to write instead.
    pub(super) fn of(path: &str) -> Result<Self, String> {
        let Some(rest) = path.strip_prefix("/v1/") else {
            return Err("there is only /v1: see /v1/stages".to_owned());
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let route = match parts.as_slice() {
            ["pipelines"] => Self::ReadRequest(ReadRequest::Pipelines),
            ["stages"] => Self::ReadRequest(ReadRequest::Stages),
            ["history"] => Self::ReadRequest(ReadRequest::History(None)),
            ["ledger"] => Self::ReadRequest(ReadRequest::Ledger),
            ["version"] => Self::ReadRequest(ReadRequest::Version),
            ["reload"] => Self::Change(ChangeRequest {
                what: ChangeKind::Reload,
                name: String::new(),
            }),
            ["quarantine", rest @ ..] => quarantine(rest)?,
            ["stages", name] => Self::ReadRequest(ReadRequest::Stage(decoded(name)?)),
            ["stages", name, "history"] => {
                Self::ReadRequest(ReadRequest::History(Some(decoded(name)?)))
            }
            ["stages", name, "shadow"] => Self::ReadRequest(ReadRequest::Shadow(decoded(name)?)),
            ["stages", name, word] => Self::Change(ChangeRequest {
                what: change(word)?,
                name: decoded(name)?,
            }),
            ["stages", ..] => {
                return Err("write the `/` in the name of a stage as %2F".to_owned());
            }
            _ => {
                return Err(
                    "there are /v1/pipelines, /v1/stages, /v1/history, /v1/ledger, /v1/quarantine, /v1/reload and /v1/version"
                        .to_owned(),
                );
            }
        };
        Ok(route)
    }
}

fn quarantine(rest: &[&str]) -> Result<Route, String> {
    let action = |word: &str| match word {
        "replay" => Some(ChangeKind::Quarantine(Action::Replay)),
        "drop" => Some(ChangeKind::Quarantine(Action::Drop)),
        _ => None,
    };
    let (word, name) = match rest {
        [] => return Ok(Route::ReadRequest(ReadRequest::Quarantine(None))),
        [word] if action(word).is_some() => (word, String::new()),
        [id] => {
            return Ok(Route::ReadRequest(ReadRequest::Quarantine(Some(decoded(
                id,
            )?))));
        }
        [id, word] => (word, decoded(id)?),
        _ => (&"", String::new()),
    };
    match action(word) {
        Some(what) => Ok(Route::Change(ChangeRequest { what, name })),
        None => Err("the quarantine, and each batch in it, has replay and drop".to_owned()),
    }
}

fn change(word: &str) -> Result<ChangeKind, String> {
    let all = [
        ChangeKind::Swap,
        ChangeKind::Rollback,
        ChangeKind::Promote,
        ChangeKind::Cancel,
    ];
    all.into_iter()
        .find(|what| what.label() == word)
        .ok_or_else(|| {
            "a stage has history, shadow, swap, rollback, promote and cancel; write the `/` in its name as %2F"
                .to_owned()
        })
}

fn decoded(name: &str) -> Result<String, String> {
    let name = percent_decode_str(name).decode_utf8();
    name.map(std::borrow::Cow::into_owned)
        .map_err(|_| "the name is not UTF-8".to_owned())
}

/// Returns the stage of this name; the message for an unknown one as an error.
pub(super) fn find_stage(status: &Status, name: &str) -> Result<StageView, String> {
    let mut stages = status.stages();
    if let Some(index) = stages.iter().position(|stage| stage.stage == name) {
        return Ok(stages.swap_remove(index));
    }
    let known: Vec<&str> = stages.iter().map(|stage| stage.stage.as_str()).collect();
    Err(no_stage(name, &known))
}

fn no_stage(name: &str, known: &[&str]) -> String {
    let instead = match closest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    format!("there is no stage `{name}`; {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path leads to the request it names, with the stage's name decoded.
    #[test]
    fn paths_lead_to_what_they_name() {
        let tag = || "wasm/tag".to_owned();
        for (path, route) in [
            ("/v1/stages", Route::ReadRequest(ReadRequest::Stages)),
            (
                "/v1/stages/wasm%2Ftag",
                Route::ReadRequest(ReadRequest::Stage(tag())),
            ),
            (
                "/v1/stages/wasm%2ftag/history",
                Route::ReadRequest(ReadRequest::History(Some(tag()))),
            ),
            (
                "/v1/stages/wasm%2Ftag/cancel",
                Route::Change(ChangeRequest {
                    what: ChangeKind::Cancel,
                    name: tag(),
                }),
            ),
            (
                "/v1/quarantine",
                Route::ReadRequest(ReadRequest::Quarantine(None)),
            ),
            (
                "/v1/quarantine/2026-1",
                Route::ReadRequest(ReadRequest::Quarantine(Some("2026-1".to_owned()))),
            ),
            (
                "/v1/quarantine/2026-1/replay",
                Route::Change(ChangeRequest {
                    what: ChangeKind::Quarantine(Action::Replay),
                    name: "2026-1".to_owned(),
                }),
            ),
            (
                "/v1/quarantine/drop",
                Route::Change(ChangeRequest {
                    what: ChangeKind::Quarantine(Action::Drop),
                    name: String::new(),
                }),
            ),
        ] {
            assert_eq!(Route::of(path), Ok(route), "{path}");
        }
    }

    /// The answer to an unknown path says what to write instead.
    #[test]
    fn other_paths_lead_nowhere() {
        for (path, says) in [
            ("/", "/v1"),
            ("/v2/stages", "/v1"),
            ("/v1/stage", "/v1/stages"),
            ("/v1/stages/wasm/tag/swap", "%2F"),
            ("/v1/stages/wasm/tag", "%2F"),
            ("/v1/stages/%FF", "UTF-8"),
            ("/v1/quarantine/2026-1/show", "replay and drop"),
            ("/v1/quarantine/a/b/drop", "replay and drop"),
        ] {
            let error = Route::of(path).expect_err(path);
            assert!(error.contains(says), "{path}: {error}");
        }
    }

    /// The answer to a misspelled stage suggests the right one; otherwise it names all stages.
    #[test]
    fn a_wrong_stage_is_answered_with_the_right_one() {
        let known = ["wasm/tag", "wasm/drop"];
        let said = no_stage("wasm/tga", &known);
        assert_eq!(
            said,
            "there is no stage `wasm/tga`; did you mean `wasm/tag`?"
        );
        let said = no_stage("batch", &known);
        assert_eq!(
            said,
            "there is no stage `batch`; there are wasm/tag, wasm/drop"
        );
    }
}

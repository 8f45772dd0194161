//! The parts of a swap request, and the refusal when they are not possible.

use std::collections::BTreeSet;
use std::sync::Arc;

use spandrel_pipeline::stage::{Mode, Share};
use spandrel_plugin::LoadError;
use spandrel_supply::{ArtifactError, Digest};

use crate::config::id::Id;
use crate::config::plugin_config::PluginConfig;
use crate::control::api::SwapRequest;
use crate::control::build::BuildError;
use crate::control::lineup::Stage;
use crate::control::{By, Refusal, in_one_line};

/// A plugin's configuration, and JSON pointers to those of its values that may be secrets.
type Given = (PluginConfig, Arc<BTreeSet<String>>);

/// Returns the configuration that the next generation of a stage gets.
pub(super) fn config(stage: &Stage, request: &SwapRequest, by: By) -> Given {
    let running = &stage.lineup.running;
    match &request.config {
        Some(config) => {
            let hidden = running.hidden.union(&stage.wasm.hidden);
            (
                PluginConfig::from(config),
                Arc::new(hidden.cloned().collect()),
            )
        }
        // The module is the configuration's, so its `config` is used, too.
        None if request.as_configured || matches!(by, By::File | By::Source) => {
            (stage.wasm.config.clone(), Arc::clone(&stage.wasm.hidden))
        }
        None => (running.config.clone(), Arc::clone(&running.hidden)),
    }
}

/// Returns the refusal for a candidate that could not be built.
pub(super) fn refusal(error: &BuildError, request: &SwapRequest) -> Refusal {
    let what = in_one_line(error);
    match error {
        BuildError::Load(LoadError::CompilerBusy { .. } | LoadError::CompileTimeout { .. }) => {
            Refusal::Conflict(what)
        }
        BuildError::Load(LoadError::Artifact(ArtifactError::Digest { module, .. }))
            if request.sha256.is_none() && request.config.is_some() =>
        {
            Refusal::Bad(format!(
                "`{module}` is not what runs any more: name it, to run it with this config"
            ))
        }
        _ => Refusal::Bad(what),
    }
}

pub(in crate::control) fn failed_before(id: &Id) -> Refusal {
    Refusal::Bad(format!(
        "this module with this config failed before in stage `{id}`; it is not loaded again by \
         itself: change it, or swap it in by hand"
    ))
}

/// Returns the mode of the new generation; `None` if it takes over.
pub(super) fn mode(request: &SwapRequest) -> Result<Option<Mode>, Refusal> {
    match (request.canary, request.shadow) {
        (None, false) => Ok(None),
        (None, true) => Ok(Some(Mode::Shadow)),
        (Some(_), true) => Err(Refusal::Bad(
            "a candidate is a canary or a shadow, not both".to_owned(),
        )),
        (Some(percent), false) => match Share::from_percent(percent) {
            Some(share) => Ok(Some(Mode::Canary(share))),
            None => Err(Refusal::Bad(format!(
                "{percent} is no share of traces: write a percentage above 0, up to 100"
            ))),
        },
    }
}

/// Returns the digest that all of these ask for. A request may be stricter than the configuration,
/// but may not ask for another digest.
pub(super) fn one_of_all(asked: [Option<Digest>; 3]) -> Result<Option<Digest>, Refusal> {
    let mut asked = asked.into_iter().flatten();
    let first = asked.next();
    match asked.find(|digest| Some(*digest) != first) {
        None => Ok(first),
        Some(other) => Err(Refusal::Bad(format!(
            "sha256 {other} is asked for, and this stage is bound to another one: that of what runs, \
             where only its config is to change, and of `module.sha256` in the configuration"
        ))),
    }
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.trim().parse().map_err(|_| {
        Refusal::Bad("`sha256` must be the 64 hex digits that sha256sum prints".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every digest that is given must match: none overrules another, neither that of the running
    /// module nor the configuration's pin.
    #[test]
    fn every_digest_that_is_asked_for_must_be_the_one() {
        let [one, other] = [1, 2].map(|byte| Some(Digest::from([byte; 32])));
        for asked in [
            [one, None, None],
            [None, one, None],
            [None, None, one],
            [one, one, one],
            [None, one, one],
        ] {
            assert_eq!(one_of_all(asked).ok().flatten(), one, "{asked:?}");
        }
        assert_eq!(one_of_all([None; 3]).ok(), Some(None));
        for asked in [
            [one, other, None],
            [None, one, other],
            [one, None, other],
            [one, one, other],
            [one, other, one],
        ] {
            assert!(one_of_all(asked).is_err(), "{asked:?}");
        }
    }
}

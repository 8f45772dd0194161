//! The parts of a swap request, and the refusal when they are not possible.

use std::collections::BTreeSet;
use std::sync::Arc;

use spandrel_config::id::Id;
use spandrel_config::plugin_config::PluginConfig;
use spandrel_pipeline::stage::{Mode, Share};
use spandrel_plugin::LoadError;
use spandrel_supply::{ArtifactError, Digest};

use crate::error_chain::in_one_line;
use crate::refusal::Refusal;
use crate::report::SwapRequest;
use crate::stage::Stage;
use crate::stage::load::StageLoadError;
use crate::trigger::Trigger;

/// A plugin's configuration, and JSON pointers to those of its values that may be secrets.
type ConfigWithSecrets = (PluginConfig, Arc<BTreeSet<String>>);

/// Returns the configuration that the next generation of a stage gets.
pub(crate) fn config(stage: &Stage, request: &SwapRequest, by: Trigger) -> ConfigWithSecrets {
    let running = stage.running();
    match &request.config {
        Some(config) => {
            let hidden = running.hidden.union(&stage.wasm().hidden);
            (
                PluginConfig::from(config),
                Arc::new(hidden.cloned().collect()),
            )
        }
        // The module is the configuration's, so its `config` is used, too.
        None if request.as_configured || matches!(by, Trigger::File | Trigger::Source) => (
            stage.wasm().config.clone(),
            Arc::clone(&stage.wasm().hidden),
        ),
        None => (running.config.clone(), Arc::clone(&running.hidden)),
    }
}

/// Returns the refusal for a candidate that could not be built.
pub(crate) fn refusal(error: &StageLoadError, request: &SwapRequest) -> Refusal {
    let what = in_one_line(error);
    match error {
        StageLoadError::Load(LoadError::CompilerBusy { .. } | LoadError::CompileTimeout { .. }) => {
            Refusal::Conflict(what)
        }
        StageLoadError::Load(LoadError::Artifact(ArtifactError::Digest { module, .. }))
            if request.sha256.is_none() && request.config.is_some() =>
        {
            Refusal::Bad(format!(
                "`{module}` has changed since the running generation was loaded: name the module to run it with this config"
            ))
        }
        _ => Refusal::Bad(what),
    }
}

pub(crate) fn failed_before(id: &Id) -> Refusal {
    Refusal::Bad(format!(
        "this module with this config failed before in stage `{id}`; it is not loaded again by \
         itself: change it, or swap it in by hand"
    ))
}

/// Returns the mode of the new generation; `None` if it takes over.
pub(crate) fn mode(request: &SwapRequest) -> Result<Option<Mode>, Refusal> {
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
pub(crate) fn one_of_all(asked: [Option<Digest>; 3]) -> Result<Option<Digest>, Refusal> {
    let mut asked = asked.into_iter().flatten();
    let first = asked.next();
    match asked.find(|digest| Some(*digest) != first) {
        None => Ok(first),
        Some(other) => Err(Refusal::Bad(format!(
            "sha256 {other} is not the digest of this stage: a swap that changes only the config keeps the \
             running module, and `module.sha256` in the configuration binds the stage to one"
        ))),
    }
}

pub(crate) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
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

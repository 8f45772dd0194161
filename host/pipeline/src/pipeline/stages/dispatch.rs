//! The change of a running pipeline's dispatch, when its stages ask for another one.
//!
//! A plugin names its dispatch in its manifest, so a swap may change it, and so may a roll-back of
//! that swap. The pipeline is not built anew for that: the shards' plugins keep their states and
//! what they hold.

use crate::stage::{Dispatch, StageSpec};

/// The change from one dispatch to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DispatchChange {
    /// The dispatch stays.
    Keep(Dispatch),
    /// A stricter one begins with the order to the shards: no batch that was dealt out by the old
    /// one comes after the order.
    Tighten(Dispatch),
    /// A looser one begins after the order, once no batch is being dealt out.
    Loosen(Dispatch),
}

impl DispatchChange {
    /// Decides how to get from the dispatch `now` to the one that the new stages ask for. While a
    /// stage has state that lies by the old one, that one stays.
    pub(super) fn between(now: Dispatch, wanted: Dispatch, has_state_by_rule: bool) -> Self {
        if wanted > now {
            Self::Tighten(wanted)
        } else if wanted < now && !has_state_by_rule {
            Self::Loosen(wanted)
        } else {
            Self::Keep(now)
        }
    }

    /// Returns the dispatch that the new stages run by in the end.
    pub(super) fn target(self) -> Dispatch {
        match self {
            Self::Keep(dispatch) | Self::Tighten(dispatch) | Self::Loosen(dispatch) => dispatch,
        }
    }
}

/// Returns the strictest dispatch that these stages, or their candidates, ask for.
pub(super) fn strictest(specs: &[StageSpec]) -> Dispatch {
    let generations = specs.iter().flat_map(StageSpec::generations);
    let asked = generations.map(|generation| generation.manifest().dispatch);
    asked.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stricter dispatch always comes, a looser one only if no state lies by the old one.
    #[test]
    fn every_change_of_dispatch() {
        use Dispatch::{Any, ByTrace, Single};
        use DispatchChange::{Keep, Loosen, Tighten};
        for (now, wanted, free, with_state) in [
            (Any, Any, Keep(Any), Keep(Any)),
            (Any, ByTrace, Tighten(ByTrace), Tighten(ByTrace)),
            (Any, Single, Tighten(Single), Tighten(Single)),
            (ByTrace, Any, Loosen(Any), Keep(ByTrace)),
            (ByTrace, ByTrace, Keep(ByTrace), Keep(ByTrace)),
            (ByTrace, Single, Tighten(Single), Tighten(Single)),
            (Single, Any, Loosen(Any), Keep(Single)),
            (Single, ByTrace, Loosen(ByTrace), Keep(Single)),
            (Single, Single, Keep(Single), Keep(Single)),
        ] {
            let row = format!("{now:?} to {wanted:?}");
            assert_eq!(DispatchChange::between(now, wanted, false), free, "{row}");
            assert_eq!(
                DispatchChange::between(now, wanted, true),
                with_state,
                "{row}"
            );
        }
    }
}

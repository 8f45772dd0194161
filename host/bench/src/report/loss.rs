//! Finds the accepted items that did not arrive.

use crate::backend::ItemSet;
use crate::load::{AcceptedRequest, LoadPlan};
use crate::template::Role;

/// The number of accepted items that must arrive and did, and of those that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) delivered: u64,
    pub(super) lost: u64,
}

impl Loss {
    /// Looks up every item of every accepted request.
    pub(super) fn find(plan: &LoadPlan, accepted: &[AcceptedRequest], arrived: &ItemSet) -> Self {
        let mut loss = Self::default();
        for request in accepted {
            let template = plan.templates.get(usize::from(request.template));
            let roles = template.map_or(&[][..], |template| &template.roles);
            let first = u64::from(request.request) * plan.batch();
            for (number, role) in (first..).zip(roles) {
                if *role != Role::Plain {
                    continue;
                }
                if arrived.contains(number) {
                    loss.delivered += 1;
                } else {
                    loss.lost += 1;
                }
            }
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use spandrel_wire::Signal;

    use super::*;
    use crate::backend::Count;
    use crate::settings::Load;
    use crate::template::{PREFIX, PatchValues};

    /// A request that never arrived, and the half of another that did not, are found.
    #[test]
    fn a_planted_loss_is_found() {
        let load = Load {
            batch: 64,
            health_checks: 0.0,
            ..Load::default()
        };
        let plan = LoadPlan::new(&load, 5, Duration::from_secs(1)).expect("it can be made");
        let mut count = Count::new(5, 64);
        for request in [0, 2] {
            let mut copy = plan.templates[0].copy();
            let stamp = PatchValues {
                run: 5,
                is_warm_up: false,
                first: request * 64,
                time: 1,
            };
            plan.templates[0].patch(&mut copy, &stamp);
            let message = copy.freeze().slice(PREFIX..);
            // The second request arrives without its second half.
            let parts = spandrel_wire::split_by_size(Signal::Traces, &message, 32);
            let parts = parts.expect("it is split");
            let arrived = if request == 0 { 2 } else { 1 };
            for part in parts.into_iter().take(arrived) {
                count.message(Signal::Traces, &[Bytes::from(part.bytes)]);
            }
        }
        let accepted = [0, 1, 2].map(|request| AcceptedRequest {
            request,
            template: 0,
        });
        let loss = Loss::find(&plan, &accepted, &count.items);
        assert_eq!(
            loss,
            Loss {
                delivered: 96,
                lost: 96
            }
        );
    }
}

//! Which of the accepted items did not arrive.

use crate::backend::Seen;
use crate::load::{Plan, Record};
use crate::template::Role;

/// Of the items that must arrive and were accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) delivered: u64,
    pub(super) lost: u64,
}

impl Loss {
    /// Looks every item of every accepted request up.
    pub(super) fn find(plan: &Plan, accepted: &[Record], seen: &Seen) -> Self {
        let mut loss = Self::default();
        for record in accepted {
            let template = plan.templates.get(usize::from(record.template));
            let roles = template.map_or(&[][..], |template| &template.roles);
            let first = u64::from(record.request) * plan.batch();
            for (number, role) in (first..).zip(roles) {
                if *role != Role::Plain {
                    continue;
                }
                if seen.has(number) {
                    loss.delivered += 1;
                } else {
                    loss.lost += 1;
                }
            }
        }
        loss
    }
}

//! Turns the raw tree into checked values, in one place. The result has no wrong value in it.

mod warnings;

use std::sync::Arc;

use crate::component::authenticators::Authenticators;
use crate::component::catalog::Catalog;
use crate::component::{Components, exporter, extension, processor, receiver};
use crate::plugins;
use crate::problem::{Problem, Problems};
use crate::service::{self, Service};
use crate::text::section::Section;
use crate::text::tree::Node;

/// The result of checking a tree.
pub(crate) struct Outcome {
    /// `None` if something is wrong with it.
    pub(crate) service: Option<Service>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) components: Components,
}

/// Checks the whole tree and notes all problems. The result is complete only if there are none.
pub(crate) fn check(root: &Node, problems: &Problems) -> Outcome {
    let top = Section::new(root, String::new(), problems);
    let extensions = Catalog::read(&top, "extensions", extension::KINDS, extension::read);
    let authenticators = Authenticators::new(&extensions, root);
    let service = top.section("service");
    let plugins = plugins::read(&service.section("plugins"));
    let components = Components {
        receivers: Catalog::read(&top, "receivers", receiver::KINDS, |id, section| {
            receiver::read(id, section, &authenticators)
        }),
        processors: Catalog::read(&top, "processors", processor::KINDS, |id, section| {
            processor::read(id, section, &plugins)
        }),
        exporters: Catalog::read(&top, "exporters", exporter::KINDS, |id, section| {
            exporter::read(id, section, &authenticators)
        }),
        extensions,
        plugins: Arc::clone(&plugins),
    };
    top.not_offered(
        "connectors",
        "remove them, and name the exporters in each pipeline",
    );
    if !top.has("service") {
        top.wrong(
            "the section `service` is missing",
            "add `service: { pipelines: ... }`",
        );
        return Outcome {
            service: None,
            warnings: Vec::new(),
            components,
        };
    }
    let service = service::read(&service, &components);
    let warnings = warnings::of(root, &components, service.as_ref());
    Outcome {
        service,
        warnings,
        components,
    }
}

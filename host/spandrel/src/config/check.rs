//! Raw to checked, in one place: what comes out of here has no wrong value left in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use spandrel_pipeline::pipeline::AckOn;

use super::auth::{self, Authenticators};
use super::exporter::{self, Exporter};
use super::extension::{self, Extension, ExtensionKind};
use super::id::Id;
use super::net::Endpoint;
use super::plugins::{self, Plugins};
use super::problem::{Problem, Problems};
use super::processor::{self, Processor};
use super::receiver::{self, Receiver};
use super::section::Section;
use super::service::{self, Pipeline, Service};
use super::suggest::closest;
use super::tree::Node;

/// Components by id; none for one that has problems of its own.
pub(crate) type Named<T> = BTreeMap<Id, Option<Arc<T>>>;

/// Everything that is configured, whether a pipeline names it or not.
pub(crate) struct Components {
    pub(crate) receivers: Named<Receiver>,
    pub(crate) processors: Named<Processor>,
    pub(crate) exporters: Named<Exporter>,
    pub(crate) extensions: Named<Extension>,
    pub(crate) plugins: Arc<Plugins>,
}

/// Checks the whole tree. All problems are noted; the result is whole only when there are none.
pub(crate) fn check(root: &Node, problems: &Problems) -> (Option<Service>, Vec<Problem>) {
    let top = Section::new(root, String::new(), problems);
    let extensions = read_all(
        &top,
        "extensions",
        "extension",
        extension::KINDS,
        extension::read,
    );
    let authenticators = Authenticators::new(&extensions, root);
    let service = top.section("service");
    let plugins = plugins::read(&service.section("plugins"));
    let components = Components {
        receivers: read_all(
            &top,
            "receivers",
            "receiver",
            receiver::KINDS,
            |id, section| receiver::read(id, section, &authenticators),
        ),
        processors: read_all(
            &top,
            "processors",
            "processor",
            processor::KINDS,
            |id, section| processor::read(id, section, &plugins),
        ),
        exporters: read_all(
            &top,
            "exporters",
            "exporter",
            exporter::KINDS,
            |id, section| exporter::read(id, section, &authenticators),
        ),
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
        return (None, Vec::new());
    }
    let service = service::read(&service, &components);
    let warnings = warnings(&components, service.as_ref());
    (service, warnings)
}

fn read_all<T>(
    top: &Section<'_>,
    key: &'static str,
    what: &str,
    kinds: &[&str],
    read: impl Fn(Id, &Section<'_>) -> Option<T>,
) -> Named<T> {
    let mut all = Named::new();
    let problems = top.problems();
    for (entry, path) in top.section(key).into_named() {
        let wrong = |what: String, instead: String| {
            problems.add(Problem::at(&entry.at, path.as_str(), what).instead(instead));
        };
        match Id::parse(&entry.key) {
            Ok(id) if kinds.contains(&id.kind()) => {
                let section = Section::named(entry, path, problems);
                all.insert(id.clone(), read(id, &section).map(Arc::new));
            }
            Ok(id) => {
                let instead = match closest(id.kind(), kinds) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{what} types: {}", kinds.join(", ")),
                };
                wrong(format!("unknown {what} type `{}`", id.kind()), instead);
                all.insert(id, None);
            }
            Err(instead) => wrong(format!("this is not the name of a {what}"), instead),
        }
    }
    all
}

/// What is accepted, but does not do what the operator may think.
fn warnings(components: &Components, service: Option<&Service>) -> Vec<Problem> {
    let pipelines = service.iter().flat_map(|service| &service.pipelines);
    let limiters = pipelines.flat_map(|pipeline| {
        let limiters = pipeline.limiters.iter();
        limiters.filter(|limiter| !limiter.is_first).map(|limiter| {
            let what = format!("processor \"{}\" does not stand first", limiter.id);
            Problem::nowhere(format!("service::pipelines::{}", pipeline.id), what).instead(
                "move it to the front: it guards the door of the pipeline wherever it stands",
            )
        })
    });
    let pipelines = service.iter().flat_map(|service| &service.pipelines);
    let keeping = pipelines.flat_map(drops_in_vain);
    let extensions = components.extensions.values().flatten();
    let plain = extensions.filter_map(|extension| {
        let ExtensionKind::Admin(admin) = &extension.kind else {
            return None;
        };
        let Some(Endpoint::Tcp(listen)) = &admin.endpoint else {
            return None;
        };
        let problem = Problem::nowhere(
            format!("extensions::{}::endpoint", extension.id),
            format!("on {listen} the token can be read by everybody on the way"),
        );
        let problem = problem
            .instead("listen on localhost or a unix socket, with a proxy that speaks TLS in front");
        (!listen.is_loopback()).then_some(problem)
    });
    let secrets = auth::in_plain_sight(components);
    let unheard = service.into_iter().flat_map(unheard);
    limiters
        .chain(keeping)
        .chain(plain)
        .chain(secrets)
        .chain(unheard)
        .collect()
}

/// Stages whose bypass should fail the readiness that nobody can ask for.
fn unheard(service: &Service) -> Vec<Problem> {
    let is_health = |kind: &ExtensionKind| matches!(kind, ExtensionKind::HealthCheck(_));
    if service.extensions.iter().any(|it| is_health(&it.kind)) {
        return Vec::new();
    }
    let pipelines = service.pipelines.iter();
    let stages = pipelines.flat_map(|pipeline| &pipeline.stages);
    let failing = stages.filter(|stage| stage.wasm.bypass_fails_readiness);
    let ids: BTreeSet<&Id> = failing.map(|stage| &stage.id).collect();
    ids.into_iter()
        .map(|id| {
            let path = format!("processors::{id}::bypass_fails_readiness");
            Problem::nowhere(path, "no extension answers for readiness")
                .instead("add `health_check` to `extensions` and to `service::extensions`")
        })
        .collect()
}

/// Exporters that say `on_full: drop` in a pipeline that never drops.
fn drops_in_vain(pipeline: &Pipeline) -> impl Iterator<Item = Problem> {
    let keeps = match (&pipeline.durability, pipeline.ack_on) {
        (Some(_), _) => Some("durability"),
        (None, AckOn::Export) => Some("ack_on: export"),
        (None, AckOn::Queue) => None,
    };
    let exporters = pipeline.exporters.iter();
    let says_drop = exporters.filter(move |exporter| keeps.is_some() && exporter.says_drop);
    says_drop.map(move |exporter| {
        let what = format!(
            "exporter \"{}\" says `on_full: drop`, which has no effect with `{}`",
            exporter.id,
            keeps.unwrap_or_default()
        );
        Problem::nowhere(format!("service::pipelines::{}", pipeline.id), what)
            .instead("remove it: when its queue is full, senders are told")
    })
}

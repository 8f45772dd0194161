//! Warnings about settings that are accepted but do not do what the operator may think, if it takes
//! more than one component to see that. Warnings about a single key are given where the key is
//! read.

use std::collections::BTreeSet;

use spandrel_pipeline::pipeline::AckOn;

use super::auth;
use super::check::{Components, Named, names};
use super::exporter::Exporter;
use super::extension::ExtensionKind;
use super::id::Id;
use super::net::Endpoint;
use super::problem::Problem;
use super::service::{Pipeline, Service};
use super::tree::Node;

/// Returns all warnings. They have paths but no places.
pub(crate) fn of(root: &Node, all: &Components, service: Option<&Service>) -> Vec<Problem> {
    let pipelines = || service.into_iter().flat_map(|service| &service.pipelines);
    let mut found: Vec<Problem> = pipelines().flat_map(late_limiters).collect();
    found.extend(pipelines().flat_map(drops_in_vain));
    found.extend(admin_in_plain_sight(all));
    found.extend(auth::in_plain_sight(all));
    found.extend(unused(root, "receivers", &all.receivers));
    found.extend(unused(root, "processors", &all.processors));
    found.extend(unused(root, "exporters", &all.exporters));
    found.extend(unused(root, "extensions", &all.extensions));
    found.extend(pipelines().flat_map(overruled_batches));
    found.extend(service.into_iter().flat_map(unheard));
    found.extend(pipelines().flat_map(endless_retries));
    found
}

fn late_limiters(pipeline: &Pipeline) -> impl Iterator<Item = Problem> {
    let late = pipeline.limiters.iter().filter(|limiter| !limiter.is_first);
    late.map(|limiter| {
        let what = format!("processor \"{}\" does not stand first", limiter.id);
        Problem::nowhere(
            format!("service::pipelines::{}::processors", pipeline.id),
            what,
        )
        .instead("move it to the front: it guards the door of the pipeline wherever it stands")
    })
}

fn admin_in_plain_sight(all: &Components) -> impl Iterator<Item = Problem> {
    all.extensions.values().flatten().filter_map(|extension| {
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
    })
}

/// Returns components that nobody names. As in the Collector, they are not started.
fn unused<T>(root: &Node, key: &'static str, all: &Named<T>) -> Vec<Problem> {
    let named = names(root, key);
    let unused = all.iter().filter(|(id, _)| !named.contains(id.as_str()));
    let whose = match key {
        "extensions" => "`service::extensions` does not name it",
        _ => "no pipeline names it",
    };
    let problem = |(id, _)| {
        let problem = Problem::nowhere(format!("{key}::{id}"), format!("{whose}: it does nothing"));
        problem.instead("name it there, or remove it")
    };
    unused.map(problem).collect()
}

/// Returns stages whose bypass should fail readiness although no extension serves it.
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

/// Returns exporters that set `on_full: drop` in a pipeline that never drops.
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
        Problem::nowhere(
            format!("service::pipelines::{}::exporters", pipeline.id),
            what,
        )
        .instead("remove it: when its queue is full, senders are told")
    })
}

/// Returns batch processors in front of exporters that have batching of their own.
fn overruled_batches(pipeline: &Pipeline) -> Vec<Problem> {
    if pipeline.batch.is_none() {
        return Vec::new();
    }
    let own = pipeline.exporters.iter().filter(|it| it.batch.is_some());
    let problem = |exporter: &std::sync::Arc<Exporter>| {
        let path = format!("service::pipelines::{}::processors", pipeline.id);
        let what = format!(
            "exporter \"{}\" has `sending_queue: {{ batch }}`, so the `batch` processor does nothing for it",
            exporter.id
        );
        Problem::nowhere(path, what).instead("keep one of the two")
    };
    own.map(problem).collect()
}

/// Returns exporters whose `max_elapsed_time` does not count in a durable pipeline.
fn endless_retries(pipeline: &Pipeline) -> Vec<Problem> {
    if pipeline.durability.is_none() {
        return Vec::new();
    }
    let ends = pipeline.exporters.iter().filter(|it| it.retry_ends);
    let problem = |exporter: &std::sync::Arc<Exporter>| {
        let path = format!(
            "exporters::{}::retry_on_failure::max_elapsed_time",
            exporter.id
        );
        let what = format!(
            "in the durable pipeline \"{}\" retries do not end by it",
            pipeline.id
        );
        Problem::nowhere(path, what).instead("write `durability: { max_age }` at the pipeline")
    };
    ends.map(problem).collect()
}

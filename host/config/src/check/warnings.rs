//! Warnings about settings that are accepted but do not do what the operator may think, if it takes
//! more than one component to see that. Warnings about a single key are given where the key is
//! read.

use std::collections::BTreeSet;

use spandrel_pipeline::pipeline::AckOn;

use crate::component::Components;
use crate::component::catalog::Catalog;
use crate::component::exporter::{Exporter, ExporterKind};
use crate::component::extension::ExtensionKind;
use crate::component::net::{Endpoint, Listen};
use crate::component::receiver::{Receiver, ReceiverKind};
use crate::id::Id;
use crate::problem::Problem;
use crate::service::{Pipeline, Service};
use crate::text::tree::Node;

/// Returns all warnings. They have paths but no places.
pub(super) fn of(root: &Node, all: &Components, service: Option<&Service>) -> Vec<Problem> {
    let pipelines = || service.into_iter().flat_map(|service| &service.pipelines);
    let mut found: Vec<Problem> = pipelines().flat_map(late_limiters).collect();
    found.extend(pipelines().flat_map(drops_in_vain));
    found.extend(admin_in_plain_sight(all));
    found.extend(credentials_in_plain_sight(all));
    found.extend(unused(root, &all.receivers));
    found.extend(unused(root, &all.processors));
    found.extend(unused(root, &all.exporters));
    found.extend(unused(root, &all.extensions));
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
        .instead("move it to the front: it acts before the first stage wherever it stands")
    })
}

fn admin_in_plain_sight(all: &Components) -> impl Iterator<Item = Problem> {
    all.extensions.good().filter_map(|extension| {
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

/// Returns warnings about credentials that travel without TLS to or from another machine.
fn credentials_in_plain_sight(components: &Components) -> Vec<Problem> {
    let exporters = components.exporters.good();
    let exporters = exporters.filter_map(|exporter| {
        let ExporterKind::OtlpGrpc(settings) = &exporter.kind else {
            return None;
        };
        let authority = settings.0.endpoint.strip_prefix("http://")?;
        settings.0.auth.as_ref()?;
        is_elsewhere(authority).then(|| {
            let path = format!("exporters::{}::endpoint", exporter.id);
            let what = "without TLS the credentials can be read by everybody on the way";
            Problem::nowhere(path, what).instead("write https://host:port")
        })
    });
    let receivers = components.receivers.good();
    exporters
        .chain(receivers.flat_map(|receiver| open_ports(receiver)))
        .collect()
}

/// Returns the ports of a receiver to which credentials come without TLS.
fn open_ports(receiver: &Receiver) -> Vec<Problem> {
    let ReceiverKind::Otlp(settings) = &receiver.kind else {
        return Vec::new();
    };
    let (grpc, http) = (settings.grpc.as_ref(), settings.http.as_ref());
    let grpc = grpc.filter(|port| port.auth.is_some() && port.tls.is_none());
    let http = http.filter(|port| port.auth.is_some() && port.tls.is_none());
    let ports = [
        grpc.map(|port| ("grpc", &port.endpoint)),
        http.map(|port| ("http", &port.endpoint)),
    ];
    let open = ports.into_iter().flatten();
    let open = open.filter(|(_, endpoint)| is_elsewhere(endpoint));
    let problems = open.map(|(name, _)| {
        let path = format!("receivers::{}::protocols::{name}::endpoint", receiver.id);
        let what = "without TLS the credentials of clients can be read by everybody on the way";
        Problem::nowhere(path, what).instead("add `tls: { cert_file, key_file }`")
    });
    problems.collect()
}

/// Returns true unless the address is on this machine.
fn is_elsewhere(authority: &str) -> bool {
    let listen = Listen::parse(authority);
    let host = Listen::parse(&format!("{authority}:80"));
    let local = |listen: Listen| listen.is_loopback();
    !(listen.is_ok_and(local) || host.is_ok_and(local))
}

/// Returns components that nobody names. As in the Collector, they are not started.
fn unused<T>(root: &Node, all: &Catalog<T>) -> Vec<Problem> {
    let key = all.key();
    let whose = match key {
        "extensions" => "`service::extensions` does not name it",
        _ => "no pipeline names it",
    };
    let problem = |id| {
        let problem = Problem::nowhere(format!("{key}::{id}"), format!("{whose}: it does nothing"));
        problem.instead("name it there, or remove it")
    };
    all.unused(root).map(problem).collect()
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

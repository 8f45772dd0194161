//! Cutting a request into parts of a size keeps every item, once, where it belongs.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{PartLimits, Signal, count, cut, split_by_size};

use crate::cases::{cases, dice};
use crate::edit::Flat;
use crate::mess::mess_up;
use crate::metrics::{metrics, points};
use crate::requests::traces;
use crate::split::{check, spans, spans_of};

proptest! {
    #![proptest_config(cases())]

    /// Metrics are split by their data points: each point keeps its resource, scope and metric,
    /// with its kind, and no part has more than the limit.
    #[test]
    fn metrics_by_size(mut dice in dice(2000), most in 1_usize..6) {
        let request = metrics(&mut dice).encode_to_vec();
        let parts = split_by_size(Signal::Metrics, &request, most).expect("small headers");
        check(Signal::Metrics, &parts);
        let split: Vec<_> = parts.iter().flat_map(|part| flat_points(&part.bytes)).collect();
        prop_assert_eq!(split, flat_points(&request));
        let items = count(Signal::Metrics, &request);
        for part in &parts {
            prop_assert!((1..=most).contains(&part.items) || items == 0, "{}", part.items);
        }
    }

    /// If a request is cut by bytes, no part is longer than the limit, except for an item that is
    /// too long alone, with its headers; and all items are there in order.
    #[test]
    fn by_bytes(mut dice in dice(3000), bytes in 1_usize..600) {
        let most = PartLimits { items: usize::MAX, bytes };
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let parts = cut(Signal::Traces, &request, most).expect("small headers");
        check(Signal::Traces, &parts);
        let split: Vec<Flat> = parts.iter().flat_map(|part| spans(&part.bytes)).collect();
        prop_assert_eq!(&split, &spans(&request));
        for part in &parts {
            prop_assert!(part.bytes.len() <= bytes || part.items <= 1, "{}", part.bytes.len());
        }
        let request = metrics(&mut dice).encode_to_vec();
        let parts = cut(Signal::Metrics, &request, most).expect("small headers");
        check(Signal::Metrics, &parts);
        let split: Vec<_> = parts.iter().flat_map(|part| flat_points(&part.bytes)).collect();
        prop_assert_eq!(split, flat_points(&request));
    }
}

/// Parts by bytes are as full as they can be: a request of 6 MiB from a client goes out as two
/// requests of up to 4 MiB, not as a handful.
#[test]
fn parts_are_filled() {
    let request = spans_of(100_000);
    let bytes = request.len() * 2 / 3;
    let most = PartLimits {
        items: usize::MAX,
        bytes,
    };
    let parts = cut(Signal::Traces, &request, most).unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts[0].bytes.len() <= bytes && parts[0].bytes.len() > bytes - 100);
}

/// One metric with more data points than a part may have is cut, and each piece is the metric.
#[test]
fn one_metric_of_many_points_is_cut() {
    let data_points = (0..1000).map(|number| NumberDataPoint {
        time_unix_nano: number,
        ..NumberDataPoint::default()
    });
    let metric = Metric {
        name: "requests".to_owned(),
        unit: "1".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: data_points.collect(),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let request = request.encode_to_vec();
    for (items, bytes) in [(300, usize::MAX), (usize::MAX, 3000)] {
        let most = PartLimits { items, bytes };
        let parts = cut(Signal::Metrics, &request, most).unwrap();
        assert!(parts.len() >= 4, "{}", parts.len());
        check(Signal::Metrics, &parts);
        let split: Vec<_> = parts
            .iter()
            .flat_map(|part| flat_points(&part.bytes))
            .collect();
        assert_eq!(split, flat_points(&request));
        assert!(
            parts
                .iter()
                .all(|part| part.items <= items && part.bytes.len() <= bytes)
        );
    }
}

/// Returns each data point with its metric, which has no other points here, and the metric's
/// resource and scope. Metrics without points are left out: their place between parts means
/// nothing.
fn flat_points(request: &[u8]) -> Vec<ExportMetricsServiceRequest> {
    let whole = ExportMetricsServiceRequest::decode(request).unwrap();
    let mut flat = Vec::new();
    for resource in whole.resource_metrics {
        for scope in &resource.scope_metrics {
            for metric in &scope.metrics {
                for index in 0..points(metric) {
                    let mut scope = scope.clone();
                    scope.metrics = vec![only_point(metric, index)];
                    let mut resource = resource.clone();
                    resource.scope_metrics = vec![scope];
                    flat.push(ExportMetricsServiceRequest {
                        resource_metrics: vec![resource],
                    });
                }
            }
        }
    }
    flat
}

fn only_point(metric: &Metric, index: usize) -> Metric {
    fn keep<T: Clone>(points: &mut Vec<T>, index: usize) {
        *points = vec![points[index].clone()];
    }
    let mut metric = metric.clone();
    match metric.data.as_mut().unwrap() {
        Data::Gauge(data) => keep(&mut data.data_points, index),
        Data::Sum(data) => keep(&mut data.data_points, index),
        Data::Histogram(data) => keep(&mut data.data_points, index),
        Data::ExponentialHistogram(data) => keep(&mut data.data_points, index),
        Data::Summary(data) => keep(&mut data.data_points, index),
    }
    metric
}

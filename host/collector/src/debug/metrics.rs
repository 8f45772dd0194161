//! Metrics as text.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, ResourceMetrics, metric::Data, number_data_point,
};
use spandrel_config::exporter::Verbosity;

use crate::debug::{line, value};

pub(crate) fn render(
    out: &mut String,
    request: &ExportMetricsServiceRequest,
    verbosity: Verbosity,
) {
    let resources = &request.resource_metrics;
    let metrics = || {
        resources
            .iter()
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics)
    };
    let points: usize = metrics().map(|metric| points(metric).len()).sum();
    line(
        out,
        format_args!(
            "Metrics resource metrics: {}, metrics: {}, data points: {points}",
            resources.len(),
            metrics().count()
        ),
    );
    for (index, resource) in resources.iter().enumerate() {
        match verbosity {
            Verbosity::Basic => {}
            Verbosity::Normal => short(out, index, resource),
            Verbosity::Detailed => full(out, index, resource),
        }
    }
}

fn short(out: &mut String, index: usize, resource: &ResourceMetrics) {
    value::short_resource(out, "Metrics", index, resource.resource.as_ref());
    for (index, scope) in resource.scope_metrics.iter().enumerate() {
        value::short_scope(out, "Metrics", index, scope.scope.as_ref());
        for metric in &scope.metrics {
            for point in points(metric) {
                let attributes = value::inline(point.attributes);
                let name = metric.name.escape_debug();
                line(
                    out,
                    format_args!("{name}{{{}}} {}", attributes.trim_start(), point.text),
                );
            }
        }
    }
}

fn full(out: &mut String, index: usize, resource: &ResourceMetrics) {
    value::resource(
        out,
        "Metrics",
        index,
        resource.resource.as_ref(),
        &resource.schema_url,
    );
    for (index, scope) in resource.scope_metrics.iter().enumerate() {
        value::scope(
            out,
            "Metrics",
            index,
            scope.scope.as_ref(),
            &scope.schema_url,
        );
        for (index, metric) in scope.metrics.iter().enumerate() {
            line(out, format_args!("Metric #{index}"));
            line(out, format_args!("Descriptor:"));
            line(
                out,
                format_args!("     -> Name: {}", metric.name.escape_debug()),
            );
            line(
                out,
                format_args!("     -> Description: {}", metric.description.escape_debug()),
            );
            line(
                out,
                format_args!("     -> Unit: {}", metric.unit.escape_debug()),
            );
            line(out, format_args!("     -> DataType: {}", data_type(metric)));
            for (index, point) in points(metric).into_iter().enumerate() {
                line(out, format_args!("DataPoint #{index}"));
                value::listed(out, "Data point attributes", point.attributes);
                line(
                    out,
                    format_args!("StartTimestamp: {}", value::time(point.start)),
                );
                line(out, format_args!("Timestamp: {}", value::time(point.time)));
                line(out, format_args!("Value: {}", point.text));
            }
        }
    }
}

fn data_type(metric: &Metric) -> String {
    match &metric.data {
        None => "Empty".to_owned(),
        Some(Data::Gauge(_)) => "Gauge".to_owned(),
        Some(Data::Sum(sum)) => {
            let temporality = sum.aggregation_temporality().as_str_name();
            format!("Sum, monotonic {}, {temporality}", sum.is_monotonic)
        }
        Some(Data::Histogram(data)) => format!(
            "Histogram, {}",
            data.aggregation_temporality().as_str_name()
        ),
        Some(Data::ExponentialHistogram(data)) => {
            format!(
                "ExponentialHistogram, {}",
                data.aggregation_temporality().as_str_name()
            )
        }
        Some(Data::Summary(_)) => "Summary".to_owned(),
    }
}

/// The fields that all kinds of data points have, and the rest as one line.
struct Point<'a> {
    attributes: &'a [KeyValue],
    start: u64,
    time: u64,
    text: String,
}

fn points(metric: &Metric) -> Vec<Point<'_>> {
    let numbers = match &metric.data {
        None => return Vec::new(),
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        Some(Data::Sum(sum)) => &sum.data_points,
        Some(Data::Histogram(data)) => {
            let points = data.data_points.iter().map(|point| Point {
                attributes: &point.attributes,
                start: point.start_time_unix_nano,
                time: point.time_unix_nano,
                text: format!(
                    "count {} sum {} min {} max {} bounds {:?} buckets {:?}",
                    point.count,
                    number(point.sum),
                    number(point.min),
                    number(point.max),
                    point.explicit_bounds,
                    point.bucket_counts
                ),
            });
            return points.collect();
        }
        Some(Data::ExponentialHistogram(data)) => {
            let points = data.data_points.iter().map(|point| Point {
                attributes: &point.attributes,
                start: point.start_time_unix_nano,
                time: point.time_unix_nano,
                text: format!(
                    "count {} sum {} min {} max {} scale {} zero {}",
                    point.count,
                    number(point.sum),
                    number(point.min),
                    number(point.max),
                    point.scale,
                    point.zero_count
                ),
            });
            return points.collect();
        }
        Some(Data::Summary(data)) => {
            let points = data.data_points.iter().map(|point| {
                let quantiles = point.quantile_values.iter();
                let quantiles: Vec<String> = quantiles
                    .map(|at| format!("{}: {}", at.quantile, at.value))
                    .collect();
                Point {
                    attributes: &point.attributes,
                    start: point.start_time_unix_nano,
                    time: point.time_unix_nano,
                    text: format!(
                        "count {} sum {} {{{}}}",
                        point.count,
                        point.sum,
                        quantiles.join(", ")
                    ),
                }
            });
            return points.collect();
        }
    };
    let points = numbers.iter().map(|point| Point {
        attributes: &point.attributes,
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        text: match point.value {
            Some(number_data_point::Value::AsInt(number)) => number.to_string(),
            Some(number_data_point::Value::AsDouble(number)) => number.to_string(),
            None => "none".to_owned(),
        },
    });
    points.collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

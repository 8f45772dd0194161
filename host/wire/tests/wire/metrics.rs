//! Arbitrary requests of metrics.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar, number_data_point,
};

use crate::dice::Dice;
use crate::requests::{attributes, id, resource, scope, signed, small};

pub(crate) fn metrics(dice: &mut Dice) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: dice.few(3, |dice| ResourceMetrics {
            resource: dice.some(resource),
            scope_metrics: dice.few(3, |dice| ScopeMetrics {
                scope: dice.some(scope),
                metrics: dice.few(4, metric),
                schema_url: dice.text(),
            }),
            schema_url: dice.text(),
        }),
    }
}

/// Returns the number of data points of a metric.
pub(crate) fn points(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    }
}

fn metric(dice: &mut Dice) -> Metric {
    let data = match dice.roll(6) {
        0 => None,
        1 => Some(Data::Gauge(Gauge {
            data_points: dice.few(3, number),
        })),
        2 => Some(Data::Sum(Sum {
            data_points: dice.few(3, number),
            aggregation_temporality: signed(dice),
            is_monotonic: dice.once_in(2),
        })),
        3 => Some(Data::Histogram(Histogram {
            data_points: dice.few(3, histogram),
            aggregation_temporality: signed(dice),
        })),
        4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: dice.few(3, exponential),
            aggregation_temporality: signed(dice),
        })),
        _ => Some(Data::Summary(Summary {
            data_points: dice.few(3, summary),
        })),
    };
    Metric {
        name: dice.text(),
        description: dice.text(),
        unit: dice.text(),
        metadata: attributes(dice),
        data,
    }
}

fn number(dice: &mut Dice) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(dice),
        start_time_unix_nano: dice.word(),
        time_unix_nano: dice.word(),
        exemplars: dice.list(2, exemplar),
        flags: small(dice),
        value: dice.some(|dice| match dice.roll(2) {
            0 => number_data_point::Value::AsDouble(double(dice)),
            _ => number_data_point::Value::AsInt(dice.word().cast_signed()),
        }),
    }
}

fn exemplar(dice: &mut Dice) -> Exemplar {
    Exemplar {
        filtered_attributes: attributes(dice),
        time_unix_nano: dice.word(),
        span_id: id(dice, 8),
        trace_id: id(dice, 16),
        value: dice.some(|dice| exemplar::Value::AsDouble(double(dice))),
    }
}

fn histogram(dice: &mut Dice) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(dice),
        start_time_unix_nano: dice.word(),
        time_unix_nano: dice.word(),
        count: dice.word(),
        sum: dice.some(double),
        bucket_counts: dice.list(6, Dice::word),
        explicit_bounds: dice.list(6, double),
        exemplars: dice.list(2, exemplar),
        flags: small(dice),
        min: dice.some(double),
        max: dice.some(double),
    }
}

fn exponential(dice: &mut Dice) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(dice),
        start_time_unix_nano: dice.word(),
        time_unix_nano: dice.word(),
        count: dice.word(),
        sum: dice.some(double),
        scale: signed(dice),
        zero_count: dice.word(),
        positive: dice.some(buckets),
        negative: dice.some(buckets),
        flags: small(dice),
        exemplars: dice.list(1, exemplar),
        min: dice.some(double),
        max: dice.some(double),
        zero_threshold: double(dice),
    }
}

fn buckets(dice: &mut Dice) -> Buckets {
    Buckets {
        offset: signed(dice),
        bucket_counts: dice.list(8, Dice::word),
    }
}

fn summary(dice: &mut Dice) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: attributes(dice),
        start_time_unix_nano: dice.word(),
        time_unix_nano: dice.word(),
        count: dice.word(),
        sum: double(dice),
        quantile_values: dice.list(2, |dice| ValueAtQuantile {
            quantile: double(dice),
            value: double(dice),
        }),
        flags: small(dice),
    }
}

fn double(dice: &mut Dice) -> f64 {
    f64::from(signed(dice)) / 4.0
}

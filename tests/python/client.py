"""An application with the OpenTelemetry SDK, as its author would write it.

    client.py ENDPOINT RESULT

Makes spans and metrics until its standard input is closed, then ends as a service does in its last
seconds: force_flush(5000), and out. RESULT gets what the SDK believes delivered, as JSON: the ids of
the spans whose export it was told succeeded, and how many exports of metrics succeeded.
"""

import json
import sys
import threading
import time

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult


class RememberingSpanExporter(OTLPSpanExporter):
    """Remembers the result of each export that the SDK asked for."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.delivered = []
        self.failed = 0

    def export(self, spans):
        result = super().export(spans)
        if result == SpanExportResult.SUCCESS:
            self.delivered.extend(f"{span.context.span_id:016x}" for span in spans)
        else:
            self.failed += len(spans)
        return result


class RememberingMetricExporter(OTLPMetricExporter):
    """The same for metrics."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.delivered = 0
        self.failed = 0

    def export(self, *arguments, **keywords):
        result = super().export(*arguments, **keywords)
        if result == MetricExportResult.SUCCESS:
            self.delivered += 1
        else:
            self.failed += 1
        return result


def main():
    endpoint, result_path = sys.argv[1:]
    resource = Resource.create({"service.name": "python-shop"})
    span_exporter = RememberingSpanExporter(endpoint=endpoint, insecure=True, timeout=5)
    metric_exporter = RememberingMetricExporter(endpoint=endpoint, insecure=True, timeout=5)

    tracer_provider = TracerProvider(resource=resource)
    processor = BatchSpanProcessor(
        span_exporter, schedule_delay_millis=50, max_export_batch_size=64
    )
    tracer_provider.add_span_processor(processor)
    reader = PeriodicExportingMetricReader(metric_exporter, export_interval_millis=100)
    meter_provider = MeterProvider(resource=resource, metric_readers=[reader])
    tracer = tracer_provider.get_tracer("shop")
    orders = meter_provider.get_meter("shop").create_counter("shop.orders")

    asked_to_end = threading.Event()

    def wait_for_the_end():
        sys.stdin.read()
        asked_to_end.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    made = 0
    print("started", flush=True)
    while not asked_to_end.is_set():
        with tracer.start_as_current_span("order") as order:
            order.set_attribute("order.id", made)
            with tracer.start_as_current_span("charge"):
                orders.add(1, {"currency": "EUR"})
        made += 2
        time.sleep(0.002)

    begun = time.monotonic()
    spans_flushed = tracer_provider.force_flush(5000)
    metrics_flushed = meter_provider.force_flush(5000)
    flush_seconds = time.monotonic() - begun
    with open(result_path, "w", encoding="utf-8") as result:
        json.dump(
            {
                "made": made,
                "delivered": span_exporter.delivered,
                "failed": span_exporter.failed,
                "metrics_delivered": metric_exporter.delivered,
                "metrics_failed": metric_exporter.failed,
                "spans_flushed": bool(spans_flushed),
                "metrics_flushed": bool(metrics_flushed),
                "flush_seconds": flush_seconds,
            },
            result,
        )


if __name__ == "__main__":
    main()

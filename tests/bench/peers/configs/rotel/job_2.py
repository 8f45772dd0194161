"""Job 2 as a Python processor of Rotel: health checks are dropped, the other spans tagged by their service."""

from rotel_sdk.open_telemetry.common.v1 import AnyValue, KeyValue

OWNERS = {
    "checkout-0": ("payments", "gold"),
    "payment-2": ("payments", "gold"),
    "cart-1": ("shop", "silver"),
    "search-5": ("discovery", "silver"),
}
DEFAULT = ("platform", "bronze")


def attribute(attributes, key):
    for attribute in attributes:
        if attribute.key == key:
            return attribute.value.value
    return None


def process_spans(resource_spans):
    service = None
    if resource_spans.resource is not None:
        service = attribute(resource_spans.resource.attributes, "service.name")
    team, tier = OWNERS.get(service, DEFAULT)
    for scope_spans in resource_spans.scope_spans:
        kept = []
        for span in scope_spans.spans:
            if attribute(span.attributes, "http.route") == "/healthz":
                continue
            span.attributes.append(KeyValue("team", AnyValue(team)))
            span.attributes.append(KeyValue("tier", AnyValue(tier)))
            kept.append(span)
        scope_spans.spans = kept

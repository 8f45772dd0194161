"""Reads Prometheus' text format on stdin with Prometheus' own parser, and prints as JSON what it found:
for each family its type, its help text and its samples' names."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    if family.name in families:
        sys.exit(f"{family.name} comes twice")
    names = sorted({sample.name for sample in family.samples})
    families[family.name] = {
        "type": family.type,
        "help": family.documentation,
        "samples": names,
    }
json.dump(families, sys.stdout)

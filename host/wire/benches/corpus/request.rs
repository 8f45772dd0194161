//! The request around the spans of a bench.

use spandrel_wire::{write_key_value, write_nested, write_text};

/// Makes one resource with this many spans in scopes of 64; `span` writes the one with a number.
pub(crate) fn request(spans: usize, span: impl Fn(&mut Vec<u8>, u64)) -> Vec<u8> {
    let mut out = Vec::new();
    write_nested(&mut out, 1, |out| {
        write_nested(out, 1, |out| {
            for (key, value) in [
                ("service.name", "checkout"),
                ("service.version", "1.42.0"),
                ("host.name", "ip-10-0-12-34.eu-central-1.compute.internal"),
                ("telemetry.sdk.language", "java"),
            ] {
                write_nested(out, 1, |out| write_key_value(out, key, value));
            }
        });
        for start in (0..spans).step_by(64) {
            write_nested(out, 2, |out| {
                write_nested(out, 1, |out| {
                    write_text(out, 1, "io.opentelemetry.tomcat-10.0");
                    write_text(out, 2, "2.9.0-alpha");
                });
                for number in start..spans.min(start + 64) {
                    write_nested(out, 2, |out| span(out, number as u64));
                }
            });
        }
    });
    out
}

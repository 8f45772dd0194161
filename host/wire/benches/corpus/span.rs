//! A span as services send it: 730 bytes, 12 attributes.

use spandrel_wire::{
    write_bytes, write_fixed32, write_fixed64, write_key_value, write_nested, write_text,
    write_varint_field,
};

/// Writes the span with a number. So many spans have the same trace.
pub(crate) fn span(out: &mut Vec<u8>, number: u64, of_trace: u64) {
    let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    // No id is zero.
    let (trace, id) = (mixed(number / of_trace + 1), mixed(number + 1));
    let begin = 1_763_798_400_000_000_000 + number * 1_000_003;
    write_bytes(out, 1, &[trace, trace].concat());
    write_bytes(out, 2, &id);
    write_bytes(out, 4, &id);
    write_text(out, 5, "GET /api/v1/carts/{cartId}/items");
    write_varint_field(out, 6, 2);
    write_fixed64(out, 7, begin);
    write_fixed64(out, 8, begin + 12_345_678);
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/carts/{cartId}/items"),
        ("url.query", "currency=EUR&include=prices,stock,shipping"),
        ("url.path", "/api/v1/carts/7f3c9a52-2f1b/items"),
        ("server.address", "checkout.shop.svc.cluster.local"),
        ("client.address", "203.0.113.195"),
        ("user_agent.original", agent),
        ("thread.name", "http-nio-8080-exec-7"),
        (
            "url.full",
            "https://shop.example.com/api/v1/carts/7f3c9a52-2f1b/items?currency=EUR&include=prices",
        ),
    ] {
        write_nested(out, 9, |out| write_key_value(out, key, value));
    }
    write_nested(out, 9, |out| {
        write_key_value(out, "http.response.status_code", 200)
    });
    write_nested(out, 9, |out| write_key_value(out, "server.port", 8443));
    write_nested(out, 9, |out| {
        write_key_value(out, "shop.cart.total", 129.95)
    });
    write_nested(out, 15, |_| {});
    write_fixed32(out, 16, 0x101);
}

//! Spans like those of a web shop: three services, 14 attributes, an event; a fifth are health
//! checks, one in twenty was seen before. They are the same in each run.

use spandrel_guest::testing::TestBatch;
use spandrel_pipeline::stage::Input;

/// One request.
pub(crate) struct Batch {
    /// One copy for all, so that each reader finds it in the caches as the one before left it.
    pub(crate) input: Input,
    pub(crate) spans: usize,
}

/// Makes `spans` spans in batches of `size`.
pub(crate) fn batches(spans: usize, size: usize) -> Vec<Batch> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut last_id = 1;
    let batch = |_| Batch {
        input: request(size, &mut random, &mut last_id).into(),
        spans: size,
    };
    (0..spans / size).map(batch).collect()
}

fn request(size: usize, random: &mut Random, last_id: &mut u64) -> Vec<u8> {
    let services = ["checkout", "cart", "catalog"];
    let mut request = TestBatch::new();
    for (number, service) in services.iter().enumerate() {
        let share = size / services.len() + usize::from(number < size % services.len());
        if share == 0 {
            continue;
        }
        request = request.service(service);
        for (key, value) in [
            ("service.namespace", "shop"),
            ("service.version", "2.41.7"),
            ("deployment.environment.name", "production"),
            ("host.name", "node-17.eu-west-1.compute.internal"),
            ("k8s.pod.name", "checkout-6c8f7d9b5-x2x8q"),
            ("k8s.namespace.name", "shop-production"),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.version", "1.36.0"),
        ] {
            request = request.resource_attribute(key, value);
        }
        request = request.scope("opentelemetry.instrumentation.asgi", "0.57b0");
        for _ in 0..share {
            request = span(request, random, last_id);
        }
    }
    request.bytes()
}

fn span(request: TestBatch, random: &mut Random, last_id: &mut u64) -> TestBatch {
    let is_health = random.below(5) == 0;
    let is_repeated = random.below(20) == 0;
    if !is_repeated {
        *last_id = random.next();
    }
    let id = *last_id;
    let route = if is_health {
        "/healthz"
    } else {
        "/api/v2/orders/{order_id}/items"
    };
    let order = random.below(1_000_000);
    request.span("GET /api/v2/orders/{order_id}/items", |span| {
        span.trace(u128::from(id) << 64 | u128::from(id.rotate_left(17)))
            .id(id)
            .parent(id ^ 0xff)
            .attribute("http.request.method", "GET")
            .attribute("http.route", route)
            .attribute("url.path", format!("/api/v2/orders/{order}/items"))
            .attribute("url.scheme", "https")
            .attribute("server.address", "orders.shop.example.com")
            .attribute("server.port", 8443_i64)
            .attribute("client.address", "10.42.17.203")
            .attribute(
                "user_agent.original",
                "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0",
            )
            .attribute("http.response.status_code", 200_i64)
            .attribute("http.response.body.size", i64::try_from(order).unwrap_or(0))
            .attribute("shop.cart.value", 41.5_f64)
            .attribute("shop.is_returning_customer", id & 1 == 0)
            .attribute(
                "shop.session.id",
                format!("{:016x}{:016x}", id, id.rotate_left(9)),
            )
            .attribute("thread.name", "uvicorn-worker-7-of-16")
            .event("cache.lookup.finished_in_time")
    })
}

/// An xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

use spandrel_guest::prelude::*;

/// Lets each span go a second after it came.
struct Delay {
    waiting: Vec<(Duration, Held)>,
}

#[derive(Deserialize)]
struct Config {}

impl Plugin for Delay {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new()
            .holds()
            .tick_interval(Duration::from_millis(100))
    }

    fn configure(_: Config) -> Result<Self, String> {
        Ok(Self {
            waiting: Vec::new(),
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        let now = spandrel_guest::monotonic();
        self.waiting
            .extend(batch.spans().map(|span| (now, span.hold())));
    }

    fn tick(&mut self) {
        let now = spandrel_guest::monotonic();
        let due = self
            .waiting
            .extract_if(.., |(since, _)| now - *since >= Duration::from_secs(1));
        for (since, held) in due {
            held.forward_with(|edits| {
                let waited = (now - since).as_secs_f64();
                edits.set_attribute("waited_seconds", waited);
            });
        }
    }

    fn drain(&mut self, _reason: DrainReason, _deadline: Duration) {
        for (_, held) in self.waiting.drain(..) {
            held.forward();
        }
    }
}

export!(Delay);

#[cfg(test)]
mod tests {
    use super::*;
    use spandrel_guest::testing::{TestBatch, TestHost};

    /// A span goes on after a second, or when the collector stops.
    #[test]
    fn spans_wait_a_second() {
        let mut host = TestHost::<Delay>::configure("{}").unwrap();
        let outcome = host.process(&TestBatch::new().span("GET /", |span| span));
        assert_eq!(outcome.held(), ["GET /"]);
        assert!(host.tick().kept().is_empty());

        host.advance(Duration::from_millis(1500));
        let outcome = host.tick();
        let waited = outcome.span("GET /").after().attribute("waited_seconds");
        assert_eq!(waited, Some(Value::Double(1.5)));

        host.process(&TestBatch::new().span("GET /late", |span| span));
        let outcome = host.drain(DrainReason::Shutdown);
        assert_eq!(outcome.kept(), ["GET /late"]);
    }
}

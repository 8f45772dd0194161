use spandrel_guest::prelude::*;

const HEALTH: Reason = Reason(0);

struct DropHealthChecks {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    team: String,
}

impl Plugin for DropHealthChecks {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["health"])
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch) {
        for span in batch.spans() {
            if span.attribute_str("http.route") == Some("/healthz") {
                span.drop(HEALTH);
            } else {
                span.set_attribute("team", &self.config.team);
            }
        }
    }
}

export!(DropHealthChecks);

#[test]
fn health_checks_are_dropped_and_the_rest_is_tagged() {
    use spandrel_guest::testing::{TestBatch, TestHost};

    let mut host = TestHost::<DropHealthChecks>::configure(r#"{ "team": "shop" }"#).unwrap();
    let outcome = host.process(
        &TestBatch::new()
            .span("GET /healthz", |span| {
                span.attribute("http.route", "/healthz")
            })
            .span("GET /cart", |span| span.attribute("http.route", "/cart")),
    );
    assert_eq!(outcome.dropped("health"), ["GET /healthz"]);
    assert_eq!(
        outcome.span("GET /cart").after().attribute_str("team"),
        Some("shop")
    );
}

use spandrel_guest::prelude::*;

/// An index into the manifest's `drop_reasons`.
const DEBUG_ROUTE: Reason = Reason(0);

struct TeamTags {
    config: Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    team: String,
    #[serde(default)]
    debug_routes: Vec<Glob>,
}

impl Plugin for TeamTags {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["debug_route"])
    }

    fn configure(config: Config) -> Result<Self, String> {
        if config.team.is_empty() {
            return Err("`team` must not be empty".to_owned());
        }
        info!("tagging for {}", config.team);
        Ok(Self { config })
    }

    fn process(&mut self, batch: &mut Batch) {
        let Config { team, debug_routes } = &self.config;
        let team = batch.prepare("team", team);
        for span in batch.spans() {
            let route = span.attribute_str("http.route").unwrap_or_default();
            if debug_routes.iter().any(|debug| debug.matches(route)) {
                span.drop(DEBUG_ROUTE);
            } else {
                span.set(team);
            }
        }
    }
}

export!(TeamTags);

#[cfg(test)]
mod tests {
    use super::*;
    use spandrel_guest::testing::{TestBatch, TestHost};

    /// A span that nobody wants is dropped under its reason; every other span says whose it is.
    #[test]
    fn debug_routes_go_and_the_rest_is_tagged() {
        let config = r#"{ "team": "shop", "debug_routes": ["/debug/*"] }"#;
        let mut host = TestHost::<TeamTags>::configure(config).unwrap();
        let batch = TestBatch::new()
            .service("cart")
            .span("GET /cart", |span| span.attribute("http.route", "/cart"))
            .span("GET /debug/pprof", |span| {
                span.attribute("http.route", "/debug/pprof")
            });

        let outcome = host.process(&batch);

        assert_eq!(outcome.dropped("debug_route"), ["GET /debug/pprof"]);
        assert_eq!(outcome.kept(), ["GET /cart"]);
        let cart = outcome.span("GET /cart").after();
        assert_eq!(cart.attribute_str("team"), Some("shop"));
    }
}

use spandrel_guest::prelude::*;

/// Takes attributes out of spans and out of their events and links.
struct Redact {
    keys: Keys,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    keys: Vec<String>,
}

impl Plugin for Redact {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Self {
            keys: Keys::new(config.keys),
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        let mut redacted = 0;
        for span in batch.spans() {
            let keys = self.keys.as_slice();
            let in_event = |event: Event| keys.iter().any(|key| event.attribute(key).is_some());
            let in_link = |link: Link| keys.iter().any(|key| link.attribute(key).is_some());
            if span.events().any(in_event) || span.links().any(in_link) {
                span.replace(&self.without_keys(span.to_new()));
                redacted += 1;
            } else if span.select(&self.keys).next().is_some() {
                // An edit costs less than a whole span.
                keys.iter().for_each(|key| span.delete_attribute(key));
                redacted += 1;
            }
        }
        if redacted > 0 {
            count("redacted", redacted);
        }
    }
}

impl Redact {
    fn without_keys(&self, span: NewSpan) -> NewSpan {
        let keys = self.keys.as_slice();
        let span = keys
            .iter()
            .fold(span, |span, key| span.delete_attribute(key));
        let span = span.change_events(|event| {
            let all = NewEvent::from(event);
            Some(
                keys.iter()
                    .fold(all, |event, key| event.delete_attribute(key)),
            )
        });
        span.change_links(|link| {
            let all = NewLink::from(link);
            Some(
                keys.iter()
                    .fold(all, |link, key| link.delete_attribute(key)),
            )
        })
    }
}

export!(Redact);

#[cfg(test)]
mod tests {
    use super::*;
    use spandrel_guest::testing::{TestBatch, TestHost};

    /// The keys are gone wherever they stood, and nothing else is.
    #[test]
    fn keys_are_redacted() {
        let config = r#"{ "keys": ["user.email", 4711] }"#;
        let mut host = TestHost::<Redact>::configure(config).unwrap();
        let batch = TestBatch::new()
            .service("shop")
            .span("in the span", |span| {
                span.attribute("4711", true).attribute("kept", 1)
            })
            .span("in an event", |span| {
                span.attribute("user.email", "a@b")
                    .event_with("login", |event| {
                        event.attribute("user.email", "a@b").attribute("kept", 1)
                    })
            })
            .span("in a link", |span| {
                let link = NewLink::new([1; 16], [2; 8]).flags(1);
                span.link(&link.attribute("user.email", "a@b"))
            })
            .span("nowhere", |span| span.attribute("kept", 1));

        let outcome = host.process(&batch);

        let span = outcome.span("in the span").after();
        assert_eq!(span.attribute("4711"), None);
        assert_eq!(span.attribute("kept"), Some(Value::Int(1)));
        let span = outcome.span("in an event").after();
        assert_eq!(span.attribute("user.email"), None);
        let event = span.events().next().unwrap();
        assert_eq!(event.name(), "login");
        assert_eq!(event.attribute("user.email"), None);
        assert_eq!(event.attribute("kept"), Some(Value::Int(1)));
        let link = outcome.span("in a link").after().links().next().unwrap();
        assert_eq!(link.attribute("user.email"), None);
        assert_eq!((link.span_id(), link.flags()), (&[2; 8][..], 1));
        assert_eq!(host.counter("redacted"), 3);
    }
}

use spandrel_guest::prelude::*;

const TOO_MANY: Reason = Reason(0);

/// Says what `Minute` looks like: one more with each change of its fields.
const STATE_VERSION: u32 = 2;

/// Lets so many spans through in a minute, and all with errors.
struct Limit {
    most: u64,
    minute: Minute,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    spans_per_minute: u64,
}

/// All that the next generation needs to know.
#[derive(Serialize, Deserialize)]
struct Minute {
    began: Moment,
    spans: u64,
}

impl Minute {
    fn new(spans: u64) -> Self {
        let began = Moment::now();
        Self { began, spans }
    }
}

impl Plugin for Limit {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new()
            .dispatch(Dispatch::Single)
            .drop_reasons(&["too_many"])
            .state_version(STATE_VERSION)
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Self {
            most: config.spans_per_minute,
            minute: Minute::new(0),
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        if self.minute.began.elapsed() >= Duration::from_secs(60) {
            self.minute = Minute::new(0);
        }
        for span in batch.spans() {
            if span.is_error() {
                continue;
            }
            if self.minute.spans < self.most {
                self.minute.spans += 1;
            } else {
                span.drop(TOO_MANY);
            }
        }
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        state::to_bytes(&self.minute)
    }

    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let other: Minute = match version {
            STATE_VERSION => state::from_bytes(bytes)?,
            // The last release only wrote how many there were.
            1 => Minute::new(state::from_bytes(bytes)?),
            other => return Err(state::unreadable(other, STATE_VERSION)),
        };
        self.minute.began = self.minute.began.min(other.began);
        self.minute.spans = self.minute.spans.saturating_add(other.spans);
        Ok(())
    }
}

export!(Limit);

#[cfg(test)]
mod tests {
    use super::*;
    use spandrel_guest::testing::{TestBatch, TestHost};

    fn three_spans() -> TestBatch {
        ["a", "b", "c"]
            .into_iter()
            .fold(TestBatch::new(), |batch, name| {
                batch.span(name, |span| span)
            })
    }

    /// A swap neither opens the limit anew nor keeps it shut for longer.
    #[test]
    fn the_limit_survives_a_swap() {
        let config = r#"{ "spans_per_minute": 5 }"#;
        let mut host = TestHost::<Limit>::configure(config).unwrap();
        assert_eq!(host.process(&three_spans()).kept(), ["a", "b", "c"]);
        host.advance(Duration::from_secs(50));

        let mut host = host.swap_to::<Limit>(config).unwrap().carried();
        assert_eq!(host.process(&three_spans()).dropped("too_many"), ["c"]);
        host.advance(Duration::from_secs(10));
        assert_eq!(host.process(&three_spans()).kept(), ["a", "b", "c"]);
    }

    /// The last release's state is read, and a later one's is refused.
    #[test]
    fn versions_are_told_apart() {
        let config = r#"{ "spans_per_minute": 5 }"#;
        let mut host = TestHost::<Limit>::configure(config).unwrap();
        host.restore(1, &state::to_bytes(&4_u64).unwrap()).unwrap();
        assert_eq!(host.process(&three_spans()).kept(), ["a"]);

        let refused = host.restore(3, b"whatever that is").unwrap_err();
        assert!(refused.starts_with("state version 3 is newer than 2"));
    }
}

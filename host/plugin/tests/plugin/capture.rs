//! The log of one test, as text.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Collects the log lines of this thread while it lives.
pub(crate) struct Capture {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Capture {
    pub(crate) fn start() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Sink(Arc::clone(&text)))
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .finish();
        Self {
            text,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Returns the lines of this target so far.
    pub(crate) fn lines(&self, target: &str) -> Vec<String> {
        let text = self.text.lock().expect("not poisoned");
        let text = String::from_utf8(text.clone()).expect("the log is UTF-8");
        let mark = format!(" {target}: ");
        text.lines()
            .filter(|line| line.contains(&mark))
            .map(str::to_owned)
            .collect()
    }
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

//! The tasks in which requests of HTTP/2 run.

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs the requests of all connections. They are counted, and ended together when the drain's
/// grace is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Streams {
    /// Ends the requests that still run, and returns when they have ended.
    pub(super) async fn cut(&self) {
        self.cut.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(stream).await;
        });
    }
}

//! Closes journals with a time limit, because a disk may hang.

use std::future::ready;
use std::pin::pin;

use futures_util::future::FutureExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::durable::{CLOSE, DurableParts, Durables};

/// Journals that are being closed, side by side. Some are closed once their pipelines have drained.
#[derive(Debug, Default)]
pub(crate) struct JournalClosing {
    /// Each task returns the pipeline whose journal it closed, if it closed one.
    tasks: JoinSet<Option<String>>,
    /// The pipelines whose journals are not closed yet.
    open: Vec<String>,
}

impl JournalClosing {
    /// Closes a journal, if there is one, after `before` has resolved to the deadline.
    pub(crate) fn add(
        &mut self,
        pipeline: String,
        durable: Option<DurableParts>,
        before: impl Future<Output = Instant> + Send + 'static,
    ) {
        let Some(durable) = durable else {
            self.tasks.spawn(before.map(|_| None));
            return;
        };
        self.open.push(pipeline.clone());
        self.tasks.spawn(async move {
            let deadline = before.await;
            let closed = durable.close(pipeline.clone(), deadline).await;
            closed.then_some(pipeline)
        });
    }

    /// Closes these journals, too.
    pub(crate) fn add_all(&mut self, durables: Durables, deadline: Instant) {
        for (pipeline, durable) in durables {
            self.add(pipeline.to_string(), Some(durable), ready(deadline));
        }
    }

    /// Collects the tasks that are done.
    pub(crate) fn look(&mut self) {
        while let Some(joined) = self.tasks.try_join_next() {
            self.joined(joined);
        }
    }

    /// Waits until all tasks are done.
    pub(crate) async fn all(&mut self) {
        while let Some(joined) = self.tasks.join_next().await {
            self.joined(joined);
        }
    }

    /// Waits until all are done, but at most until the deadline, and not much longer than `abort`.
    /// Returns the pipelines whose journals were not closed.
    pub(crate) async fn finish(
        mut self,
        deadline: Instant,
        abort: impl Future<Output = ()>,
    ) -> Vec<String> {
        let until = deadline.max(Instant::now() + CLOSE);
        {
            let mut all = pin!(timeout_at(until, self.all()));
            tokio::select! {
                // The journals that are not closed by now stay in `open`.
                _ = &mut all => {}
                () = abort => drop(timeout(CLOSE, all).await),
            }
        }
        self.open.sort();
        self.open.dedup();
        self.open
    }

    /// Removes a pipeline from `open` if its journal was closed. It stays there for good if the
    /// journal was not closed, or if the task failed.
    fn joined(&mut self, joined: Result<Option<String>, JoinError>) {
        let closed = joined.ok().flatten();
        let place = self
            .open
            .iter()
            .position(|open| Some(open) == closed.as_ref());
        if let Some(place) = place {
            self.open.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::SystemTime;

    use parking_lot::Mutex;
    use spandrel_journal::vfs::{Disk, File, Lock, LockError, Vfs};
    use spandrel_journal::{Options, Store};

    use super::*;
    use crate::quarantine::{QuarantineStore, folder};
    use spandrel_config::id::Id;

    /// A disk that gives its lock back only when it is told to.
    #[derive(Debug)]
    struct Hanging(Disk, Mutex<Option<Receiver<()>>>);

    #[derive(Debug)]
    struct Held(Mutex<Option<Receiver<()>>>);

    impl Lock for Held {}

    impl Drop for Held {
        fn drop(&mut self) {
            let answers = self.0.get_mut();
            if let Some(answers) = answers.take() {
                answers.recv().ok();
            }
        }
    }

    impl Vfs for Hanging {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            self.0.list(dir)
        }

        fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            self.0.create(path)
        }

        fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            self.0.open(path)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.0.sync_dir(dir)
        }

        fn lock(&self, _: &Path) -> Result<Box<dyn Lock>, LockError> {
            let answers = self.1.lock().take();
            Ok(Box::new(Held(Mutex::new(answers))))
        }

        fn now(&self) -> SystemTime {
            self.0.now()
        }

        fn salt(&self) -> u64 {
            self.0.salt()
        }
    }

    /// Opens two journals: one on a disk that hangs until the sender is dropped, and one on a disk
    /// that does not hang.
    fn two(folder: &Path) -> (SyncSender<()>, [(Id, DurableParts); 2]) {
        let (answer, answers) = sync_channel::<()>(0);
        let durables = [("traces/a", Some(answers)), ("traces/b", None)];
        let durables = durables.map(|(name, answers)| {
            let id = Id::parse(name).expect("a name");
            let dir = folder.join(name.replace('/', "_"));
            let disk = Arc::new(Hanging(Disk, Mutex::new(answers)));
            let opened = Store::open_on(disk, Options::new(&dir));
            let (journal, _) = opened.expect("a journal");
            let quarantine = QuarantineStore::open(&dir.join(folder::NAME)).expect("a store");
            let quarantine = Arc::new(quarantine);
            (
                id,
                DurableParts {
                    journal,
                    quarantine,
                },
            )
        });
        (answer, durables)
    }

    /// A journal on a disk that hangs is left behind and its pipeline is named; the other journal
    /// is closed.
    #[tokio::test]
    async fn a_disk_that_hangs_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let (answer, durables) = two(folder.path());
        let began = Instant::now();
        let mut closing = JournalClosing::default();
        closing.add_all(Durables::from(durables), began);
        assert_eq!(closing.finish(began, pending()).await, ["traces/a"]);
        assert!(began.elapsed() < CLOSE * 10);
        drop(answer);
    }

    /// Journals of pipelines that were removed are named, too, both when the pipelines were given
    /// up before the end and when they never end.
    #[tokio::test]
    async fn whoever_was_taken_away_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (answer, [(hangs, one), (_, other)]) = two(folder.path());
        let mut closing = JournalClosing::default();
        let began = Instant::now();
        closing.add(hangs.to_string(), Some(one), ready(began));
        closing.add("traces/plain".into(), None, ready(began));
        closing.all().await;
        closing.add("traces/stays".into(), Some(other), pending());
        closing.look();
        let unclosed = closing.finish(began, pending()).await;
        assert_eq!(unclosed, ["traces/a", "traces/stays"]);
        drop(answer);
    }

    /// A second signal ends the wait, whatever the deadline is.
    #[tokio::test]
    async fn a_second_signal_ends_the_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let (answer, durables) = two(folder.path());
        let began = Instant::now();
        let deadline = began + CLOSE * 60;
        let mut closing = JournalClosing::default();
        closing.add_all(Durables::from(durables), deadline);
        assert_eq!(closing.finish(deadline, ready(())).await, ["traces/a"]);
        assert!(began.elapsed() < CLOSE * 10);
        drop(answer);
    }
}

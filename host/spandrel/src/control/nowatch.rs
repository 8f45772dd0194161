pub(crate) struct Watcher;
impl Watcher {
    pub(crate) fn start(
        _: Vec<std::path::PathBuf>,
    ) -> (Self, tokio::sync::mpsc::Receiver<std::path::PathBuf>) {
        let (_, r) = tokio::sync::mpsc::channel(1);
        (Self, r)
    }
    pub(crate) fn set(&self, _: Vec<std::path::PathBuf>) {}
}

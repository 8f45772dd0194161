//! Cleans up when a thread ends, in whatever way.

/// Runs a function when a thread ends, in whatever way: nobody must wait for one that has panicked.
pub(crate) struct DropGuard<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for DropGuard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

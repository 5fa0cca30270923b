//! How one thread tells another that there is something to do.

use std::fmt;
use std::sync::Arc;

/// Wakes the thread that waits for something; cheap to call too often.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// Wraps what wakes the thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(wake))
    }

    /// A waker for a driver that polls, as a simulation does.
    pub fn none() -> Waker {
        Waker::new(|| {})
    }

    /// Wakes it.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

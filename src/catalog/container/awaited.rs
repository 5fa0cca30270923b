//! A directory at rest, whose live file is watched for one event.

use std::path::PathBuf;
use std::time::Duration;

use super::Container;
use crate::clock::Time;

impl Container {
    /// The file to be watched from now on, if this has just been found at rest.
    pub fn take_wish(&mut self) -> Option<PathBuf> {
        self.rest.as_mut()?.take_wish()
    }

    /// Notes that the file is watched. Returns whether it is still at rest.
    pub fn set_awaited(&mut self) -> bool {
        if let Some(rest) = &mut self.rest {
            rest.set_watched();
        }
        self.rest.is_some()
    }

    /// An event may have been lost. Returns whether one was waited for.
    pub fn forget_watch(&mut self) -> bool {
        let waited = self.rest.take().is_some_and(|rest| rest.is_watched());
        self.checked_at = None;
        waited
    }

    /// Something happened to a file at rest, not before that moment.
    pub fn rouse(&mut self, since: Time) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_watched()) {
            self.measured_at = self.measured_at.max(since);
        }
        self.stir();
    }

    /// Looks again soon, as if something had grown.
    pub fn stir(&mut self) {
        self.interval = Duration::ZERO;
        self.rest = None;
    }
}

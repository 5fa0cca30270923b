//! What is due when. Invariant: every task is in the queue at most once.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Time;

/// One thing the catalog does again and again. In the order in which equal dues are served: parents first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Look at the log root.
    Root,
    /// Look at the container links.
    Links,
    /// A slice of the rescan.
    Rescan,
    /// Look at a pod directory.
    Pod(u64),
    /// Look at a container directory.
    Container(u64),
}

/// The queue.
#[derive(Debug, Default)]
pub struct Schedule {
    dues: BTreeMap<Task, Time>,
    queue: BTreeSet<(Time, Task)>,
}

impl Schedule {
    /// Makes a task due at a moment, whatever it was before.
    pub fn set(&mut self, task: Task, due: Time) {
        if let Some(before) = self.dues.insert(task, due) {
            self.queue.remove(&(before, task));
        }
        self.queue.insert((due, task));
    }

    /// Makes a task due no later than a moment.
    pub fn hasten(&mut self, task: Task, due: Time) {
        if self.dues.get(&task).is_none_or(|before| *before > due) {
            self.set(task, due);
        }
    }

    /// Takes a task out.
    pub fn remove(&mut self, task: Task) {
        if let Some(before) = self.dues.remove(&task) {
            self.queue.remove(&(before, task));
        }
    }

    /// Takes the next task that is due.
    pub fn pop(&mut self, now: Time) -> Option<Task> {
        let (due, task) = *self.queue.first()?;
        (due <= now).then(|| {
            self.remove(task);
            task
        })
    }

    /// When the next task is due.
    pub fn next(&self) -> Time {
        self.queue.first().map_or(Time::NEVER, |(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_queued_once_and_served_when_due() {
        let mut schedule = Schedule::default();
        schedule.set(Task::Pod(1), Time::from_ms(10));
        schedule.set(Task::Pod(1), Time::from_ms(20));
        schedule.hasten(Task::Pod(1), Time::from_ms(30));
        schedule.hasten(Task::Root, Time::from_ms(20));
        assert_eq!(schedule.pop(Time::from_ms(19)), None);
        assert_eq!(schedule.next(), Time::from_ms(20));
        assert_eq!(schedule.pop(Time::from_ms(20)), Some(Task::Root));
        assert_eq!(schedule.pop(Time::from_ms(20)), Some(Task::Pod(1)));
        assert_eq!(schedule.pop(Time::NEVER), None);
    }
}

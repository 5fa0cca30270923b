//! What is due when. Invariant: every task is served at most once for each time it was set.
//!
//! Most dues are multiples of a common beat, so the queue has few moments with many tasks each: setting and serving
//! a task touch the end of one list. A task that was moved stays behind in its old list and is passed over there.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Time;

/// One thing the catalog does again and again. In the order in which equal dues are served: parents first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Task {
    /// Among equal dues.
    fn rank(self) -> u8 {
        match self {
            Task::Root => 0,
            Task::Links => 1,
            Task::Rescan => 2,
            Task::Pod(_) => 3,
            Task::Container(_) => 4,
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Schedule {
    dues: HashMap<Task, Time>,
    queue: BTreeMap<(Time, u8), Vec<Task>>,
}

impl Schedule {
    /// Makes a task due at a moment, whatever it was before.
    pub fn set(&mut self, task: Task, due: Time) {
        if self.dues.insert(task, due) != Some(due) {
            self.queue.entry((due, task.rank())).or_default().push(task);
        }
    }

    /// Makes a task due no later than a moment.
    pub fn hasten(&mut self, task: Task, due: Time) {
        if self.dues.get(&task).is_none_or(|before| *before > due) {
            self.set(task, due);
        }
    }

    /// Takes a task out.
    pub fn remove(&mut self, task: Task) {
        self.dues.remove(&task);
    }

    /// Takes the next task that is due.
    pub fn pop(&mut self, now: Time) -> Option<Task> {
        let (due, task) = self.first()?;
        (due <= now).then(|| {
            self.remove(task);
            task
        })
    }

    /// When the next task is due.
    pub fn next(&mut self) -> Time {
        self.first().map_or(Time::NEVER, |(due, _)| due)
    }

    /// The next task; what was moved or removed is passed over for good.
    fn first(&mut self) -> Option<(Time, Task)> {
        while let Some(mut first) = self.queue.first_entry() {
            let (due, _) = *first.key();
            let tasks = first.get_mut();
            while let Some(task) = tasks.last() {
                if self.dues.get(task) == Some(&due) {
                    return Some((due, *task));
                }
                tasks.pop();
            }
            first.remove();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

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

    /// What a test does next.
    #[derive(Clone, Copy, Debug)]
    enum Action {
        Set(u64, u64),
        Hasten(u64, u64),
        Remove(u64),
        Pop(u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        let task = 0..5_u64;
        let due = 0..6_u64;
        prop_oneof![
            (task.clone(), due.clone()).prop_map(|(task, due)| Action::Set(task, due)),
            (task.clone(), due.clone()).prop_map(|(task, due)| Action::Hasten(task, due)),
            task.prop_map(Action::Remove),
            due.prop_map(Action::Pop),
        ]
    }

    proptest! {
        /// Whatever is set, moved and removed, in any order: the queue serves what a plain set of dues would, each
        /// task once, the earliest first, parents first among equals.
        #[test]
        fn it_serves_what_a_set_of_dues_would(actions in prop::collection::vec(action(), 0..60)) {
            let task = |number| match number {
                0 => Task::Root,
                1 | 2 => Task::Pod(number),
                _ => Task::Container(number),
            };
            let mut schedule = Schedule::default();
            let mut plain: BTreeMap<Task, u64> = BTreeMap::new();
            for action in actions {
                match action {
                    Action::Set(number, due) => {
                        schedule.set(task(number), Time::from_ms(due));
                        plain.insert(task(number), due);
                    }
                    Action::Hasten(number, due) => {
                        schedule.hasten(task(number), Time::from_ms(due));
                        let place = plain.entry(task(number)).or_insert(due);
                        *place = due.min(*place);
                    }
                    Action::Remove(number) => {
                        schedule.remove(task(number));
                        plain.remove(&task(number));
                    }
                    Action::Pop(now) => {
                        let first = plain.iter().map(|(task, due)| (*due, task.rank())).min();
                        let first = first.filter(|(due, _)| *due <= now);
                        let allowed: BTreeSet<Task> = plain
                            .iter()
                            .filter(|(task, due)| first == Some((**due, task.rank())))
                            .map(|(task, _)| *task)
                            .collect();
                        let popped = schedule.pop(Time::from_ms(now));
                        prop_assert_eq!(popped.is_none(), allowed.is_empty());
                        if let Some(popped) = popped {
                            prop_assert!(allowed.contains(&popped), "{popped:?} of {allowed:?}");
                            plain.remove(&popped);
                        }
                    }
                }
                let next = plain.values().min().map_or(Time::NEVER, |due| Time::from_ms(*due));
                prop_assert_eq!(schedule.next(), next);
            }
        }
    }
}

//! Whose turn it is: deficit round robin over pods that have unread bytes, round robin over the chains of a pod.
//!
//! O(1) per turn and O(active) in memory. Invariant: a chain is in the schedule at most once.

use std::collections::{HashMap, VecDeque};

/// The chains of one pod that wait for a turn.
#[derive(Debug, Default)]
struct Pod {
    chains: VecDeque<u32>,
    /// Bytes it may still read before the next pod's turn; below zero after a turn that read more.
    deficit_bytes: i64,
}

/// Who waits for a turn.
#[derive(Debug)]
pub struct Schedule {
    quantum_bytes: i64,
    ring: VecDeque<String>,
    pods: HashMap<String, Pod>,
}

impl Schedule {
    /// An empty schedule; a pod may read `quantum_bytes` per round.
    pub fn new(quantum_bytes: usize) -> Schedule {
        Schedule {
            quantum_bytes: i64::try_from(quantum_bytes).unwrap_or(i64::MAX).max(1),
            ring: VecDeque::new(),
            pods: HashMap::new(),
        }
    }

    /// Puts a chain at the end of its pod's queue. The caller sees to it that it is in no queue yet.
    pub fn add(&mut self, pod: &str, slot: u32) {
        if let Some(queue) = self.pods.get_mut(pod) {
            queue.chains.push_back(slot);
            return;
        }
        let queue = Pod {
            chains: VecDeque::from([slot]),
            deficit_bytes: 0,
        };
        self.pods.insert(pod.to_owned(), queue);
        self.ring.push_back(pod.to_owned());
    }

    /// The chain whose turn it is. It stays first until [`Schedule::done`] is called.
    pub fn turn(&mut self) -> Option<u32> {
        loop {
            let queue = self.pods.get_mut(self.ring.front()?)?;
            if queue.deficit_bytes > 0 {
                return queue.chains.front().copied();
            }
            queue.deficit_bytes += self.quantum_bytes;
            if queue.deficit_bytes <= 0 {
                self.ring.rotate_left(1);
            }
        }
    }

    /// Ends the turn of the chain that [`Schedule::turn`] gave: it read `bytes`, and wants another turn or not.
    pub fn done(&mut self, bytes: usize, more: bool) {
        let Some(pod) = self.ring.front() else { return };
        let Some(queue) = self.pods.get_mut(pod) else {
            return;
        };
        queue.deficit_bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(slot) = queue.chains.pop_front()
            && more
        {
            queue.chains.push_back(slot);
        }
        if queue.chains.is_empty() {
            if let Some(pod) = self.ring.pop_front() {
                self.pods.remove(&pod);
            }
        } else if queue.deficit_bytes <= 0 {
            self.ring.rotate_left(1);
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::Entry;

    use proptest::prelude::*;

    use super::*;

    fn shares(
        schedule: &mut Schedule,
        turns: usize,
        read: impl Fn(u32) -> usize,
    ) -> HashMap<u32, usize> {
        let mut bytes = HashMap::new();
        for _ in 0..turns {
            let slot = schedule.turn().unwrap();
            *bytes.entry(slot).or_default() += read(slot);
            schedule.done(read(slot), true);
        }
        bytes
    }

    #[test]
    fn a_pod_with_many_chains_gets_no_more_than_one_with_a_single_chain() {
        let mut schedule = Schedule::new(100);
        for slot in 0..9 {
            schedule.add("noisy", slot);
        }
        schedule.add("quiet", 9);
        let bytes = shares(&mut schedule, 180, |_| 100);
        assert_eq!(bytes[&9], 9_000);
        assert!((0..9).all(|slot| bytes[&slot] == 1_000));
    }

    #[test]
    fn small_turns_add_up_to_the_same_share() {
        let mut schedule = Schedule::new(100);
        schedule.add("large", 0);
        schedule.add("small", 1);
        let bytes = shares(
            &mut schedule,
            1_100,
            |slot| if slot == 0 { 100 } else { 10 },
        );
        assert_eq!(bytes[&0], bytes[&1]);
    }

    #[test]
    fn an_overdrawn_pod_waits_its_debt_out() {
        let mut schedule = Schedule::new(100);
        schedule.add("a", 0);
        schedule.add("b", 1);
        assert_eq!(schedule.turn(), Some(0));
        schedule.done(1_000, true);
        let bytes = shares(&mut schedule, 9, |_| 100);
        assert_eq!(bytes.get(&0), None);
        assert_eq!(bytes[&1], 900);
    }

    #[test]
    fn a_chain_without_more_leaves() {
        let mut schedule = Schedule::new(100);
        schedule.add("a", 0);
        assert_eq!(schedule.turn(), Some(0));
        schedule.done(1, false);
        assert!(schedule.is_empty());
        assert_eq!(schedule.turn(), None);
    }

    /// What happens between two turns, or in one.
    #[derive(Clone, Debug)]
    enum Happening {
        /// A small chain gets something to read.
        Grows(u32),
        /// The one whose turn it is reads so much, if that is not the loud one; of that a whole block.
        Turn(usize),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            (1..40_u32).prop_map(Happening::Grows),
            (1..=BLOCK).prop_map(Happening::Turn),
        ]
    }

    const BLOCK: usize = 1_000;

    proptest! {
        /// Beside a chain that always has a whole block to read, and whatever the others do: between the moment that a
        /// chain has something to read and its turn, no other pod reads more than a quantum and a block; and all that
        /// wait have had their turn after three rounds.
        #[test]
        fn nobody_waits_for_more_than_a_round(
            quantum in BLOCK..2 * BLOCK,
            happenings in prop::collection::vec(happening(), 1..400),
        ) {
            let mut schedule = Schedule::new(quantum);
            schedule.add("loud", 0);
            // For each that waits: what the others have read since.
            let mut waiting: HashMap<u32, HashMap<u32, usize>> = HashMap::new();
            for happening in happenings {
                match happening {
                    Happening::Grows(slot) => {
                        if let Entry::Vacant(place) = waiting.entry(slot) {
                            place.insert(HashMap::new());
                            schedule.add(&format!("pod-{slot}"), slot);
                        }
                    }
                    Happening::Turn(small) => {
                        let slot = schedule.turn().unwrap();
                        let bytes = if slot == 0 { BLOCK } else { small };
                        schedule.done(bytes, slot == 0);
                        waiting.remove(&slot);
                        for read in waiting.values_mut() {
                            let read = read.entry(slot).or_default();
                            *read += bytes;
                            prop_assert!(*read <= quantum + BLOCK, "{slot} read {read} before others");
                        }
                    }
                }
            }
            // And everybody gets there.
            let turns = 3 * (waiting.len() + 1);
            for _ in 0..turns {
                let slot = schedule.turn().unwrap();
                schedule.done(BLOCK, slot == 0);
                waiting.remove(&slot);
            }
            prop_assert!(waiting.is_empty(), "{waiting:?} still wait after {turns} turns");
        }
    }
}

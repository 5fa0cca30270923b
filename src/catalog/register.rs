//! Which chains there are, for whoever asks by name. Written by the catalog alone, read by anybody.
//!
//! Invariant: it keeps no chain alive, and it is never longer than twice the chains that live, and some.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::chain::Chain;
use crate::clock::Time;

/// A chain, and when the workers are told of it at the latest.
#[derive(Clone, Debug)]
struct Entry {
    chain: Weak<Chain>,
    introduced_by: Time,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    /// The length at which those that are gone are swept out.
    sweep_at: usize,
}

/// The register: see the module.
#[derive(Debug, Default)]
pub struct Register(Mutex<Entries>);

/// A chain that is in the register.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Which.
    pub chain: Arc<Chain>,
    /// When the workers are told of it at the latest, known or not whose it is.
    pub introduced_by: Time,
}

impl Register {
    /// Fewer entries are not worth a sweep.
    const SWEEP_MIN: usize = 64;

    /// A chain has been found (catalog only).
    pub(super) fn add(&self, chain: &Arc<Chain>, introduced_by: Time) {
        let mut entries = self.entries();
        if entries.list.len() >= entries.sweep_at.max(Register::SWEEP_MIN) {
            entries.list.retain(|entry| entry.chain.strong_count() > 0);
            entries.sweep_at = entries.list.len() * 2;
        }
        entries.list.push(Entry {
            chain: Arc::downgrade(chain),
            introduced_by,
        });
    }

    /// The chains that the catalog tracks, or a worker has still to settle.
    pub fn chains(&self) -> Vec<Registered> {
        let entries = self.entries();
        let living = entries.list.iter().filter_map(|entry| {
            Some(Registered {
                chain: entry.chain.upgrade()?,
                introduced_by: entry.introduced_by,
            })
        });
        living.filter(|it| !it.chain.forgotten()).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::PodState;
    use crate::record::{ChainKey, ChainMeta};

    fn chain(restart: u32) -> Arc<Chain> {
        let meta = ChainMeta {
            key: ChainKey {
                pod_uid: "u".to_owned(),
                container: "c".to_owned(),
                restart,
            },
            namespace: "n".to_owned(),
            pod: "p".to_owned(),
            container_id: String::new(),
            pod_state: PodState::Unasked,
        };
        Arc::new(Chain::new(meta, false, false, None))
    }

    #[test]
    fn what_lives_is_listed_and_what_is_gone_takes_no_room() {
        let register = Register::default();
        let kept = chain(0);
        register.add(&kept, Time::from_ms(7));
        for restart in 1..10_000 {
            register.add(&chain(restart), Time::ZERO);
        }
        let chains = register.chains();
        assert_eq!(chains.len(), 1);
        assert!(Arc::ptr_eq(&chains[0].chain, &kept));
        assert_eq!(chains[0].introduced_by, Time::from_ms(7));
        assert!(register.entries().list.len() <= Register::SWEEP_MIN + 2);
        kept.forget();
        assert!(register.chains().is_empty());
    }
}

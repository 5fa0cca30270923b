//! Who goes on with what: the checkpoints that a sink's workers left, dealt out to the workers that it has now.
//!
//! Invariants: each chain goes to exactly one worker; to the one that had it, unless their number has changed; and what
//! was left decides alone, so that two starts from the same files are alike.

use std::collections::{BTreeMap, HashMap};

use super::store::Left;
use super::{Checkpoint, SavedChain};
use crate::catalog::feed::Feed;
use crate::pipeline::ledger::Accounts;
use crate::record::ChainKey;

/// Deals out what was left to `workers` workers. A chain that two files have (the agent stopped while the number of
/// workers was being changed) is taken from the one that had settled more of it.
pub fn deal(left: Vec<Left>, workers: usize) -> Vec<Checkpoint> {
    let mut dealt = vec![Checkpoint::default(); workers.max(1)];
    let folded = newest_folded(&left, workers);
    let mut chains: BTreeMap<ChainKey, (Option<usize>, SavedChain)> = BTreeMap::new();
    for left in left {
        let home = (left.workers == workers && left.worker < workers).then_some(left.worker);
        for chain in left.checkpoint.chains {
            let key = chain.key();
            let known = chains.get(&key);
            if known.is_none_or(|(_, known)| known.accounts.settled() < chain.accounts.settled()) {
                chains.insert(key, (home, chain));
            }
        }
    }
    for (worker, folded) in folded {
        if let Some(checkpoint) = dealt.get_mut(worker) {
            checkpoint.folded += &folded;
        }
    }
    let mut loads = vec![0_u64; dealt.len()];
    // First those whose place is known: the others fill up.
    let (settled, homeless): (Vec<_>, Vec<_>) =
        chains.into_values().partition(|(home, _)| home.is_some());
    for (home, chain) in settled.into_iter().chain(homeless) {
        let idlest = || (0..loads.len()).min_by_key(|worker| loads.get(*worker).copied());
        let Some(worker) = home.or_else(idlest) else {
            continue;
        };
        if let (Some(load), Some(checkpoint)) = (loads.get_mut(worker), dealt.get_mut(worker)) {
            *load = load.saturating_add(Feed::CHAIN_LOAD_BYTES + chain.accounts.pending);
            checkpoint.chains.push(chain);
        }
    }
    dealt
}

/// The accounts of forgotten chains, and whose they are now. With files of several numbers of workers the later ones
/// hold what the earlier ones did, and more: the greatest sum counts.
fn newest_folded(left: &[Left], workers: usize) -> Vec<(usize, Accounts)> {
    let mut sums: HashMap<usize, Accounts> = HashMap::new();
    for left in left {
        *sums.entry(left.workers).or_default() += &left.checkpoint.folded;
    }
    let greatest = sums
        .iter()
        .max_by_key(|(of, sum)| (sum.seen, **of == workers, **of));
    let Some((of, _)) = greatest else {
        return Vec::new();
    };
    let newest = left.iter().filter(|left| left.workers == *of);
    newest
        .map(|left| match *of == workers {
            true => (left.worker, left.checkpoint.folded),
            false => (0, left.checkpoint.folded),
        })
        .collect()
}

#[cfg(test)]
mod tests;

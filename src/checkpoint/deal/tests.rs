use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::pods::PodState;
use crate::record::ChainMeta;

fn saved(name: u8, delivered: u64) -> SavedChain {
    let mut accounts = Accounts::default();
    accounts.see(1_000);
    accounts.deliver(crate::pipeline::ledger::Amount {
        bytes: delivered,
        lines: 0,
    });
    let meta = ChainMeta {
        key: ChainKey {
            pod_uid: format!("uid-{name}"),
            container: "c".to_owned(),
            restart: 0,
        },
        namespace: "ns".to_owned(),
        pod: "p".to_owned(),
        container_id: String::new(),
        pod_state: PodState::Unasked,
    };
    SavedChain {
        meta: Arc::new(meta),
        accounts,
        segments: Vec::new(),
        excluded: false,
        counted: 0,
    }
}

fn left(worker: usize, workers: usize, folded: u64, chains: &[(u8, u64)]) -> Left {
    let mut accounts = Accounts::default();
    accounts.see(folded);
    Left {
        worker,
        workers,
        checkpoint: Checkpoint {
            folded: accounts,
            chains: chains.iter().map(|(name, at)| saved(*name, *at)).collect(),
        },
    }
}

fn names(dealt: &[Checkpoint]) -> Vec<Vec<String>> {
    let names = |chains: &[SavedChain]| {
        chains
            .iter()
            .map(|chain| chain.meta.key.pod_uid.clone())
            .collect()
    };
    dealt.iter().map(|dealt| names(&dealt.chains)).collect()
}

fn folded(dealt: &[Checkpoint]) -> Vec<u64> {
    dealt.iter().map(|dealt| dealt.folded.seen).collect()
}

#[test]
fn the_same_number_of_workers_go_on_with_their_own() {
    let dealt = deal(
        vec![left(0, 2, 5, &[]), left(1, 2, 7, &[(1, 0), (2, 0)])],
        2,
    );
    assert_eq!(names(&dealt), [vec![], vec!["uid-1", "uid-2"]]);
    assert_eq!(folded(&dealt), [5, 7]);
}

#[test]
fn of_two_states_of_a_chain_the_further_one_counts_and_sums_are_not_counted_twice() {
    // Stopped while going from one worker to two, of which the first alone had written.
    let all = vec![
        left(0, 1, 5, &[(1, 10), (2, 10)]),
        left(0, 2, 6, &[(1, 20)]),
    ];
    let dealt = deal(all, 2);
    assert_eq!(names(&dealt), [vec!["uid-1"], vec!["uid-2"]]);
    assert_eq!(dealt[0].chains[0].accounts.delivered.bytes, 20);
    assert_eq!(folded(&dealt), [6, 0]);
}

proptest! {
    /// Every chain that some file has goes to one worker, in its furthest state; where all are new to this number of
    /// workers, none gets two more than another, and the order of the files does not matter.
    #[test]
    fn every_chain_goes_on_once(
        files in prop::collection::vec(prop::collection::btree_map(0_u8..20, 0_u64..1_000, 0..12), 0..5),
        workers in 5_usize..8,
    ) {
        let make = |(worker, chains): (usize, &BTreeMap<u8, u64>)| {
            let chains: Vec<_> = chains.iter().map(|(name, at)| (*name, *at)).collect();
            left(worker, 4, 0, &chains)
        };
        let mut furthest = BTreeMap::new();
        for (name, at) in files.iter().flatten() {
            let known = furthest.entry(format!("uid-{name}")).or_insert(*at);
            *known = (*known).max(*at);
        }
        let dealt = deal(files.iter().enumerate().map(make).collect(), workers);
        let chains = dealt.iter().flat_map(|dealt| &dealt.chains);
        let found: Vec<(String, u64)> = chains
            .map(|chain| (chain.meta.key.pod_uid.clone(), chain.accounts.delivered.bytes))
            .collect();
        prop_assert_eq!(found.len(), furthest.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), furthest);
        let counts: Vec<usize> = dealt.iter().map(|dealt| dealt.chains.len()).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        let again = deal(files.iter().enumerate().rev().map(make).collect(), workers);
        prop_assert_eq!(names(&again), names(&dealt));
    }
}

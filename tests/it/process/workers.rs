//! Several workers of one sink, and another number of them at each start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use longshore::checkpoint::decode;
use serde_json::json;

use crate::agent::{Agent, Log, Node, Written, of_sink};

/// Who has which chain, by the checkpoints: worker to containers. Fails if there are others than of this many workers,
/// or if two have the same chain.
fn owners(node: &Node, workers: usize) -> BTreeMap<usize, BTreeSet<String>> {
    let mut owners = BTreeMap::new();
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(node.path("state/sinks/main")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(numbers) = name.strip_prefix("checkpoint-") else {
            continue;
        };
        if numbers.ends_with(".previous") {
            continue;
        }
        let (worker, of) = numbers
            .strip_suffix(".jsonl")
            .unwrap()
            .split_once("-of-")
            .unwrap();
        assert_eq!(of, workers.to_string(), "{name} is left over");
        let chains = decode(&fs::read(&path).unwrap()).unwrap().chains;
        let mine: BTreeSet<String> = chains.iter().map(|chain| chain.key().to_string()).collect();
        for chain in &mine {
            assert!(all.insert(chain.clone()), "two workers have {chain}");
        }
        owners.insert(worker.parse().unwrap(), mine);
    }
    assert_eq!(owners.len(), workers);
    owners
}

/// Chains move to the workers that there are now, with all that is known of them; those of the same number of workers
/// stay where they are; all write into the one set of files, and `/status` adds up what they did.
#[test]
fn chains_move_when_the_number_of_workers_changes() {
    let node = Node::new();
    let mut logs: Vec<Log> = (0..12)
        .map(|number| node.container(&format!("p{number}"), "app"))
        .collect();
    let mut before = BTreeMap::new();
    for (round, workers) in [1, 3, 3, 2].into_iter().enumerate() {
        let mut sink = node.file_sink("rows");
        sink["workers"] = json!(workers);
        let config = node.configure(json!({"main": sink}), json!({}));
        logs.iter_mut().for_each(|log| log.write(50));
        let agent = Agent::run(&config);
        agent.wait_for_all("main", &Written::of(&logs));
        logs.push(node.container(&format!("new{round}"), "app"));
        logs.iter_mut().for_each(|log| log.write(50));
        let written = Written::of(&logs);
        agent.wait_for_all("main", &written);
        let status = agent.status();
        let shown = of_sink(&status, "main")["workers"].as_array().unwrap();
        assert_eq!(shown.len(), workers);
        agent.stop();
        assert_eq!(written.check(&node.rows("rows")), 0, "repeats");

        let after = owners(&node, workers);
        let counts: Vec<usize> = after.values().map(BTreeSet::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), logs.len(), "{counts:?}");
        assert!(
            counts.iter().all(|count| *count >= 12 / workers - 1),
            "{counts:?}"
        );
        if before.len() == workers {
            for (worker, chains) in &before {
                assert!(after[worker].is_superset(chains), "a chain has moved");
            }
        }
        before = after;
    }
}

//! Chains and what the cluster says of their pods.

use std::sync::Arc;
use std::time::Duration;

use longshore::pods::store::{GRACE, Pods, Seen};
use longshore::pods::{ContainerInfo, PodInfo, PodState};

use super::*;

const WAIT: Duration = Duration::from_secs(5);

fn rig() -> (Rig, Arc<Pods>) {
    let mut rig = Rig::new();
    let pods = Arc::new(Pods::new());
    rig.catalog = rig.catalog.knowing(Arc::clone(&pods), WAIT);
    rig.reading = true;
    rig.run_ms(1_000);
    (rig, pods)
}

fn web(app: &str, restarts: u32, id: &str) -> Seen {
    Seen {
        info: PodInfo {
            uid: "uid-1".to_owned(),
            namespace: "default".to_owned(),
            name: "web-1".to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            containers: vec![ContainerInfo {
                name: "main".to_owned(),
                container_id: id.to_owned(),
                restarts,
                ..ContainerInfo::default()
            }],
            ..PodInfo::default()
        },
        ..Seen::default()
    }
}

fn start(rig: &mut Rig) {
    rig.files.mkdir(POD);
    rig.files.mkdir(DIR);
    rig.files
        .append(LOG, b"2024-01-01T00:00:00Z stdout F hello\n");
}

fn state(rig: &Rig) -> PodState {
    let chain = rig.chains.values().next().unwrap();
    chain.meta().pod_state.clone()
}

#[test]
fn a_known_pod_costs_no_wait_and_gives_the_id_that_no_link_gives() {
    let (mut rig, pods) = rig();
    pods.apply(web("shop", 0, "c0ffee"), rig.clock.now());
    start(&mut rig);
    rig.run_ms(1_000);
    let chain = rig.chains.values().next().unwrap();
    assert_eq!(chain.meta().container_id, "c0ffee");
    assert!(chain.meta().pod_state.info().is_some());
}

#[test]
fn a_chain_waits_for_its_pod_as_long_as_it_may() {
    let (mut rig, pods) = rig();
    start(&mut rig);
    rig.run_ms(3_000);
    assert_eq!(rig.added, 0);
    pods.apply(web("shop", 0, ""), rig.clock.now());
    // What wakes the catalog's thread.
    rig.step();
    assert_eq!(rig.added, 1);
    // Changes are told.
    pods.apply(web("bank", 0, "c0ffee"), rig.clock.now());
    rig.step();
    assert_eq!(state(&rig).info().unwrap().labels["app"], "bank");
    assert_eq!(
        rig.chains.values().next().unwrap().meta().container_id,
        "c0ffee"
    );
}

#[test]
fn nobody_answers_and_the_lines_go_with_what_the_path_says() {
    let (mut rig, pods) = rig();
    start(&mut rig);
    rig.run_ms(4_000);
    assert_eq!(rig.added, 0);
    rig.run_ms(2_500);
    assert_eq!((rig.added, state(&rig)), (1, PodState::Awaited));
    pods.vouch(rig.clock.now() + GRACE);
    rig.step();
    assert_eq!(state(&rig), PodState::Missing);
}

#[test]
fn a_chain_whose_files_are_deleted_while_it_waits_is_read_all_the_same() {
    let (mut rig, _pods) = rig();
    start(&mut rig);
    rig.run_ms(200);
    rig.files.remove_all(POD);
    rig.run_ms(8_000);
    assert_eq!(rig.added, 1);
    let segments = rig.chains.values().next().unwrap().segments();
    let segment = segments.first().unwrap();
    assert!(segment.gone().is_none() && segment.source().handle.is_some());
}

#[test]
fn a_restart_has_an_id_of_its_own() {
    let (mut rig, pods) = rig();
    let mut second = web("shop", 1, "second");
    second.info.containers[0].previous_id = "first".to_owned();
    pods.apply(second, rig.clock.now());
    start(&mut rig);
    rig.files.append(
        LOG.replace("0.log", "1.log"),
        b"2024-01-01T00:00:01Z stdout F again\n",
    );
    rig.run_ms(1_500);
    let ids: Vec<String> = rig
        .chains
        .values()
        .map(|it| it.meta().container_id.clone())
        .collect();
    assert_eq!(ids, ["first", "second"]);
}

#[test]
fn without_a_source_nothing_is_asked() {
    let mut rig = Rig::new();
    rig.run_ms(1_000);
    start(&mut rig);
    rig.run_ms(1_500);
    assert_eq!(state(&rig), PodState::Unasked);
}

use super::*;

const UID: &str = "u-1";

fn at(s: u64) -> Time {
    Time::from_ms(1_000 * s)
}

fn whose(uid: &str) -> Whose {
    Whose {
        namespace: "shop".to_owned(),
        pod: "web-0".to_owned(),
        uid: uid.to_owned(),
    }
}

fn seen(uid: &str, app: &str) -> Seen {
    Seen {
        info: PodInfo {
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..PodInfo::default()
        },
        ..Seen::default()
    }
}

fn app(state: &PodState) -> Option<&str> {
    state.info()?.labels.get("app").map(String::as_str)
}

#[test]
fn a_directory_is_told_once_and_then_of_changes() {
    let pods = Pods::new();
    assert_eq!(pods.ask(&whose(UID), true, at(1)), PodState::Awaited);
    assert!(pods.take_changed().is_empty());
    pods.apply(seen(UID, "a"), at(2));
    let changed = pods.take_changed();
    assert_eq!((changed.len(), app(&changed[0].1)), (1, Some("a")));
    // A heartbeat is no change.
    pods.apply(seen(UID, "a"), at(3));
    assert!(pods.take_changed().is_empty());
    pods.apply(seen(UID, "b"), at(4));
    assert_eq!(app(&pods.take_changed()[0].1), Some("b"));
    assert_eq!(app(&pods.ask(&whose(UID), true, at(5))), Some("b"));
}

#[test]
fn a_pod_is_missing_only_by_an_answer_to_a_later_question() {
    let pods = Pods::new();
    pods.ask(&whose(UID), true, at(10));
    assert_eq!(pods.wants_proof(), Some(at(12)));
    pods.vouch(at(11));
    assert!(pods.take_changed().is_empty());
    pods.vouch(at(12));
    assert_eq!(pods.take_changed()[0].1, PodState::Missing);
    assert_eq!(pods.wants_proof(), None);
    // It turns up all the same.
    pods.apply(seen(UID, "late"), at(20));
    assert_eq!(app(&pods.take_changed()[0].1), Some("late"));
    // One that was there before the agent needs no room for an event that is under way.
    pods.ask(&whose("old"), false, at(30));
    assert_eq!(pods.wants_proof(), Some(at(30)));
}

#[test]
fn another_pod_of_the_same_name_is_another() {
    let pods = Pods::new();
    pods.apply(seen("first", "a"), at(1));
    pods.delete("first", at(2));
    pods.apply(seen("second", "b"), at(3));
    assert_eq!(app(&pods.ask(&whose("first"), true, at(4))), Some("a"));
    assert_eq!(app(&pods.ask(&whose("second"), true, at(4))), Some("b"));
}

#[test]
fn a_static_pod_is_found_by_its_config_hash_and_by_nobody_elses() {
    let pods = Pods::new();
    let mirror = |uid: &str, name: &str| {
        let mut seen = seen(uid, name);
        seen.config_hash = Some("hash".to_owned());
        seen.info.name = name.to_owned();
        seen
    };
    pods.ask(&whose("hash"), true, at(1));
    // Any pod may say that it is a mirror: its name must be that of the directory as well.
    pods.apply(mirror("forged", "evil"), at(2));
    assert!(pods.take_changed().is_empty());
    pods.apply(mirror("true", "web-0"), at(3));
    assert_eq!(app(&pods.take_changed()[0].1), Some("web-0"));
    // The same manifest, changed: another hash, another uid.
    pods.delete("true", at(4));
    assert_eq!(app(&pods.ask(&whose("hash"), true, at(5))), Some("web-0"));
}

#[test]
fn what_a_list_lacks_was_deleted() {
    let pods = Pods::new();
    for uid in ["a", "b"] {
        pods.apply(seen(uid, uid), at(1));
    }
    pods.retain(&["b".to_owned()].into(), at(2));
    assert_eq!((pods.counts().pods, pods.counts().deleted), (1, 1));
    let mut shown = Vec::new();
    pods.each(|info, _| shown.push(info.uid.clone()));
    assert_eq!(shown, ["b"]);
}

#[test]
fn a_deleted_pod_stays_while_it_is_asked_for_and_some_time_after() {
    let pods = Pods::new();
    pods.apply(seen(UID, "a"), at(0));
    pods.ask(&whose(UID), true, at(0));
    pods.delete(UID, at(1));
    let far = at(1) + KEEP * 3;
    pods.delete("nobody", far);
    assert_eq!(app(&pods.ask(&whose(UID), true, far)), Some("a"));
    pods.release(&whose(UID), far);
    pods.release(&whose(UID), far);
    assert_eq!(pods.counts().deleted, 1);
    pods.release(&whose("other"), far);
    pods.delete("nobody", far + KEEP);
    assert_eq!(pods.counts().deleted, 0);
    assert_eq!(pods.ask(&whose(UID), true, far + KEEP), PodState::Awaited);
}

#[test]
fn however_many_come_and_go_the_store_is_bounded() {
    let pods = Pods::new();
    for number in 0..3 * (PODS_MAX + DELETED_MAX) {
        let uid = format!("u-{number}");
        pods.apply(seen(&uid, "a"), at(1));
        if number % 2 == 0 {
            pods.delete(&uid, at(1));
        }
    }
    let counts = pods.counts();
    assert!(
        counts.pods + counts.deleted <= PODS_MAX + DELETED_MAX,
        "{counts:?}"
    );
    assert!(counts.refused > 0);
}

#[test]
fn the_labels_of_a_namespace_reach_its_pods_whichever_comes_first() {
    let pods = Pods::new();
    let team = |name: &str| Some([("team".to_owned(), name.to_owned())].into());
    pods.set_namespace("shop", team("a"));
    pods.apply(seen(UID, "x"), at(1));
    pods.ask(&whose(UID), true, at(1));
    pods.take_changed();
    pods.set_namespace("shop", team("b"));
    let changed = pods.take_changed();
    let labels = &changed[0].1.info().unwrap().namespace_labels;
    assert_eq!(labels.get("team").map(String::as_str), Some("b"));
    pods.set_namespace("shop", team("b"));
    assert!(pods.take_changed().is_empty());
}

//! What a cgroup gets only after it was first looked at.

use super::*;

#[test]
fn a_file_that_comes_late_is_found() {
    let node = Node::new();
    let container = format!("/kubepods/pod{UID}/{}", id("a"));
    node.unified(&container);
    let file = format!("sys/fs/cgroup{container}/memory.peak");
    fs::remove_file(node.path(&file)).unwrap();
    let mut containers = node.containers(ContainerSettings::default());
    let peak = |containers: &mut Containers| {
        let snapshot = sample(containers, &node);
        value(&snapshot, "container_memory_max_usage_bytes", &[])
    };
    // A cgroup that was just made gets its files one by one.
    assert_eq!(peak(&mut containers), None);
    node.write(&file, "7");
    assert_eq!(peak(&mut containers), Some(7.0));

    let mut containers = node.containers(ContainerSettings::default());
    fs::remove_file(node.path(&file)).unwrap();
    let rounds = 2 * member::ABSENT_EVERY;
    assert!((0..rounds).all(|_| peak(&mut containers).is_none()));
    node.write(&file, "8");
    let seen = (0..rounds).find_map(|_| peak(&mut containers));
    assert_eq!(seen, Some(8.0));
}

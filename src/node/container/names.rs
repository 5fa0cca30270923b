//! Whose a container is: namespace, pod and container name for the ids that cgroups give.
//!
//! The kubelet's log tree says so without any right: a link `<pod>_<namespace>_<container>-<id>.log` for each
//! container, and a directory `<namespace>_<pod>_<uid>` for each pod. Invariant: a directory is listed again only when
//! its time of change says that something was added or removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::place;

/// Whose a cgroup is. A part that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name; empty for a pod as a whole.
    pub container: String,
    /// The container's image.
    pub image: String,
}

/// Knows names.
pub trait Whose: Send {
    /// Looks for what is new; called once before the questions of one sample.
    fn refresh(&mut self, now: SystemTime);

    /// The names of a container, if its name is known.
    fn container(&self, id: &str, pod_uid: &str) -> Option<Arc<Names>>;

    /// The names of a pod.
    fn pod(&self, uid: &str) -> Option<Arc<Names>>;
}

/// [`Whose`] by the kubelet's log tree.
#[derive(Debug)]
pub struct LogTree {
    links: Listing,
    pods: Listing,
    /// The names of links, by id. Taken apart when asked for: who asks remembers the answer.
    by_id: Vec<Box<str>>,
    /// The names of pod directories, by uid.
    by_uid: Vec<Box<str>>,
}

#[derive(Debug)]
struct Listing {
    directory: PathBuf,
    changed: Option<SystemTime>,
}

/// More names of one directory are not looked at.
const NAMES_MAX: usize = 65_536;

/// A directory that changed less long ago may change again without another time of change.
const SETTLED: Duration = Duration::from_secs(2);

impl Listing {
    /// The names in it by what `key` finds in them, if they may have changed.
    fn names(&mut self, now: SystemTime, key: fn(&str) -> Option<&str>) -> Option<Vec<Box<str>>> {
        let Ok(changed) = fs::metadata(&self.directory).and_then(|meta| meta.modified()) else {
            self.changed = None;
            return Some(Vec::new());
        };
        if self.changed == Some(changed) {
            return None;
        }
        let settled = now.duration_since(changed).is_ok_and(|age| age > SETTLED);
        self.changed = settled.then_some(changed);
        let entries = fs::read_dir(&self.directory).ok()?;
        let entries = entries.map_while(Result::ok).take(NAMES_MAX);
        let mut names: Vec<Box<str>> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| key(name).is_some())
            .map(String::into_boxed_str)
            .collect();
        names.shrink_to_fit();
        names.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        Some(names)
    }
}

impl LogTree {
    /// Of the directory of container links (`/var/log/containers`) and the one of pods (`/var/log/pods`), as this
    /// process sees them.
    pub fn new(links: &Path, pods: &Path) -> LogTree {
        let listing = |directory: &Path| Listing {
            directory: directory.to_owned(),
            changed: None,
        };
        LogTree {
            links: listing(links),
            pods: listing(pods),
            by_id: Vec::new(),
            by_uid: Vec::new(),
        }
    }
}

impl Whose for LogTree {
    fn refresh(&mut self, now: SystemTime) {
        if let Some(names) = self.links.names(now, link_id) {
            self.by_id = names;
        }
        if let Some(names) = self.pods.names(now, pod_uid) {
            self.by_uid = names;
        }
    }

    fn container(&self, id: &str, _pod_uid: &str) -> Option<Arc<Names>> {
        let name = find(&self.by_id, link_id, id)?;
        let (_, [namespace, pod, container]) = link_parts(name)?;
        Some(Arc::new(names_of(namespace, pod, container)))
    }

    fn pod(&self, uid: &str) -> Option<Arc<Names>> {
        let (_, [namespace, pod]) = pod_parts(find(&self.by_uid, pod_uid, uid)?)?;
        Some(Arc::new(names_of(namespace, pod, "")))
    }
}

/// The name among those sorted by `key` in which it finds `wanted`.
fn find<'a>(names: &'a [Box<str>], key: fn(&str) -> Option<&str>, wanted: &str) -> Option<&'a str> {
    let behind = names.partition_point(|name| key(name) <= Some(wanted));
    let last = names.get(behind.checked_sub(1)?)?;
    (key(last) == Some(wanted)).then_some(last)
}

fn link_id(name: &str) -> Option<&str> {
    Some(link_parts(name)?.0)
}

fn pod_uid(name: &str) -> Option<&str> {
    Some(pod_parts(name)?.0)
}

/// Id, and namespace, pod and container, of `<pod>_<namespace>_<container>-<id>.log`.
fn link_parts(name: &str) -> Option<(&str, [&str; 3])> {
    let (names, id) = name.strip_suffix(".log")?.rsplit_once('-')?;
    let [pod, namespace, container] = three(names)?;
    Some((place::id_of(id)?, [namespace, pod, container]))
}

/// Uid, and namespace and pod, of `<namespace>_<pod>_<uid>`.
fn pod_parts(name: &str) -> Option<(&str, [&str; 2])> {
    let [namespace, pod, uid] = three(name)?;
    Some((uid, [namespace, pod]))
}

fn three(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('_');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && three.iter().all(|part| is_word(part))).then_some(three)
}

/// Letters, digits, `-` and `.`: what names in Kubernetes are made of.
fn is_word(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

fn names_of(namespace: &str, pod: &str, container: &str) -> Names {
    Names {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        image: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let (links, pods) = (root.path().join("containers"), root.path().join("pods"));
        let mut tree = LogTree::new(&links, &pods);
        let far = SystemTime::now() + Duration::from_secs(3600);
        tree.refresh(far);
        fs::create_dir(&links).unwrap();
        fs::create_dir_all(pods.join("shop_web-0_uid1")).unwrap();
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        fs::write(links.join(format!("web-0_shop_main-{one}.log")), "").unwrap();
        fs::write(links.join("web-0_shop_main-short.log"), "").unwrap();
        tree.refresh(far);
        assert_eq!(
            *tree.container(&one, "").unwrap(),
            names_of("shop", "web-0", "main")
        );
        assert_eq!(*tree.pod("uid1").unwrap(), names_of("shop", "web-0", ""));
        assert_eq!(tree.container(&two, ""), None);

        fs::remove_file(links.join(format!("web-0_shop_main-{one}.log"))).unwrap();
        fs::write(links.join(format!("web-0_shop_side-car-{two}.log")), "").unwrap();
        tree.refresh(SystemTime::now());
        assert_eq!(tree.container(&one, ""), None);
        assert_eq!(tree.container(&two, "").unwrap().container, "side-car");
    }

    proptest! {
        /// No name stops it, and what it makes of one is of the known form.
        #[test]
        fn any_name_is_taken(name in "([a-z0-9.-]{0,9}_|.|[0-9a-f]{64}|-|\\\\.log){0,9}") {
            let link = link_parts(&name).into_iter().flat_map(|(_, parts)| parts);
            let pod = pod_parts(&name).into_iter().flat_map(|(_, parts)| parts);
            for part in link.chain(pod) {
                prop_assert!(is_word(part));
            }
        }

        /// The link that the kubelet makes is taken apart into what it was made of.
        #[test]
        fn a_link_is_taken_apart(
            pod in "[a-z][a-z0-9.-]{0,20}", namespace in "[a-z][a-z0-9-]{0,9}",
            container in "[a-z][a-z0-9-]{0,9}", id in "[0-9a-f]{64}",
        ) {
            let link = format!("{pod}_{namespace}_{container}-{id}.log");
            let expected = names_of(&namespace, &pod, &container);
            let (found, [namespace, pod, container]) = link_parts(&link).unwrap();
            prop_assert_eq!(found, id);
            prop_assert_eq!(names_of(namespace, pod, container), expected);
        }
    }
}

//! Whose a container is: namespace, pod and container name for the ids that cgroups give.
//!
//! The kubelet's log tree says so without any right: a link `<pod>_<namespace>_<container>-<id>.log` for each
//! container, and a directory `<namespace>_<pod>_<uid>` for each pod. Invariant: a directory is listed again only when
//! its time of change says that something was added or removed.

use std::collections::HashMap;
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
    by_id: HashMap<String, Arc<Names>>,
    by_uid: HashMap<String, Arc<Names>>,
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
    /// The names in it, if they may have changed.
    fn names(&mut self, now: SystemTime) -> Option<Vec<String>> {
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
        let names = entries.map_while(Result::ok).take(NAMES_MAX);
        Some(
            names
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
        )
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
            by_id: HashMap::new(),
            by_uid: HashMap::new(),
        }
    }
}

impl Whose for LogTree {
    fn refresh(&mut self, now: SystemTime) {
        if let Some(names) = self.links.names(now) {
            let known = names.iter().filter_map(|name| link_names(name));
            self.by_id = known
                .map(|(id, names)| (id.to_owned(), Arc::new(names)))
                .collect();
        }
        if let Some(names) = self.pods.names(now) {
            let known = names.iter().filter_map(|name| pod_names(name));
            self.by_uid = known
                .map(|(uid, names)| (uid.to_owned(), Arc::new(names)))
                .collect();
        }
    }

    fn container(&self, id: &str, _pod_uid: &str) -> Option<Arc<Names>> {
        self.by_id.get(id).cloned()
    }

    fn pod(&self, uid: &str) -> Option<Arc<Names>> {
        self.by_uid.get(uid).cloned()
    }
}

/// `<pod>_<namespace>_<container>-<id>.log`
fn link_names(name: &str) -> Option<(&str, Names)> {
    let (names, id) = name.strip_suffix(".log")?.rsplit_once('-')?;
    let [pod, namespace, container] = three(names)?;
    Some((place::id_of(id)?, names_of(namespace, pod, container)))
}

/// `<namespace>_<pod>_<uid>`
fn pod_names(name: &str) -> Option<(&str, Names)> {
    let [namespace, pod, uid] = three(name)?;
    Some((uid, names_of(namespace, pod, "")))
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
            for names in [link_names(&name), pod_names(&name)].into_iter().flatten() {
                prop_assert!(is_word(&names.1.pod) && is_word(&names.1.namespace));
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
            prop_assert_eq!(link_names(&link), Some((id.as_str(), expected)));
        }
    }
}

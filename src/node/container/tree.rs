//! Which pods and containers there are: the cgroup directories, looked through once and then followed.
//!
//! Invariants: after [`Tree::refresh`] the entries are those that exist, each once; a directory is listed only when its
//! link count (two and one for each subdirectory, on the kernel's cgroup file systems) or a known child's absence says
//! that something changed; no container is entered, nothing deeper than `DEPTH_MAX` is looked at, and at most
//! `directories_max` are known.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::place::{self, Part};
use crate::node::host::HostError;

/// Levels below the root of the hierarchy. A node that is itself a systemd container of another needs nine.
const DEPTH_MAX: usize = 16;

/// A pod's or a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the hierarchy, beginning with `/`.
    pub path: String,
    /// Its pod's uid.
    pub pod: String,
    /// Its container's id; absent: it is the pod's own cgroup.
    pub container: Option<String>,
}

/// The directories as they were when last looked at.
#[derive(Debug)]
pub struct Tree {
    root: Node,
    directories_max: usize,
    omitted: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Node {
    name: String,
    kind: Kind,
    /// What the link count was at the last listing; 0: never listed.
    links: u64,
    children: Vec<Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Pod(String),
    Container {
        pod: String,
        id: String,
    },
}

/// One look through the tree.
struct Look {
    path: PathBuf,
    is_thorough: bool,
    free: usize,
    omitted: u64,
    changed: bool,
}

impl Tree {
    /// Nothing looked at yet.
    pub fn new(directories_max: usize) -> Tree {
        Tree {
            root: Node::default(),
            directories_max,
            omitted: 0,
            entries: Vec::new(),
        }
    }

    /// The pods and containers, a pod before its containers.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many directories were not looked at because there are too many.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Looks through the hierarchy at `root`. True: the entries have changed. Only a thorough look asks for each
    /// container whether it is there; another finds that one is gone by the link count of its pod, and does not if one
    /// went while another came.
    pub fn refresh(&mut self, root: &Path, is_thorough: bool) -> Result<bool, HostError> {
        let known = self.root.count();
        let mut look = Look {
            path: root.to_owned(),
            is_thorough,
            free: self.directories_max.saturating_sub(known),
            omitted: 0,
            changed: false,
        };
        let seen = self.root.visit(&mut look, 0);
        self.omitted = look.omitted;
        match seen {
            Ok(true) => {}
            Ok(false) => {
                self.root = Node::default();
                self.entries.clear();
                return Err(HostError::Missing {
                    path: root.to_owned(),
                });
            }
            Err(source) => {
                return Err(HostError::Unreadable {
                    path: look.path,
                    source,
                });
            }
        }
        if look.changed {
            self.entries.clear();
            self.root.entries(&mut String::new(), &mut self.entries);
        }
        Ok(look.changed)
    }
}

impl Node {
    /// Brings a directory and what is below it up to date. False: it is gone.
    fn visit(&mut self, look: &mut Look, depth: usize) -> io::Result<bool> {
        let links = match links(&look.path) {
            Ok(links) => links,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        if matches!(self.kind, Kind::Container { .. }) || depth >= DEPTH_MAX {
            return Ok(true);
        }
        let before = self.children.len();
        let has_changed = self.links != links || links == 1;
        self.children.retain_mut(|child| {
            let is_container = matches!(child.kind, Kind::Container { .. });
            let is_trusted = is_container && !has_changed && !look.is_thorough;
            is_trusted || child.follow(look, depth)
        });
        let kept = self.children.len();
        // One link: a file system that does not count subdirectories.
        if has_changed || kept != before {
            self.list(look)?;
            let mut new = self.children.split_off(kept);
            new.retain_mut(|child| child.follow(look, depth));
            look.changed |= kept != before || !new.is_empty();
            self.children.append(&mut new);
            self.links = links;
        }
        Ok(true)
    }

    /// [`Node::visit`] from its parent. What cannot be read is as what is not there, and does not hide the others.
    fn follow(&mut self, look: &mut Look, parent_depth: usize) -> bool {
        look.path.push(&self.name);
        let here = self.visit(look, parent_depth + 1);
        look.path.pop();
        here.unwrap_or(false)
    }

    /// Adds the subdirectories that are not known yet.
    fn list(&mut self, look: &mut Look) -> io::Result<()> {
        let mut new = Vec::new();
        let known: HashSet<&str> = self.children.iter().map(|child| &*child.name).collect();
        let entries = match fs::read_dir(&look.path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries.map_while(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !known.contains(name)) else {
                continue;
            };
            let Some(kind) = self.kind.below(name) else {
                continue;
            };
            if look.free == 0 {
                look.omitted += 1;
                continue;
            }
            look.free -= 1;
            new.push(Node {
                name: name.to_owned(),
                kind,
                ..Node::default()
            });
        }
        self.children.append(&mut new);
        Ok(())
    }

    fn count(&self) -> usize {
        1 + self.children.iter().map(Node::count).sum::<usize>()
    }

    fn entries(&self, path: &mut String, out: &mut Vec<Entry>) {
        let length = path.len();
        if !self.name.is_empty() {
            path.push('/');
            path.push_str(&self.name);
        }
        match &self.kind {
            Kind::Plain => {}
            Kind::Pod(pod) => out.push(Entry {
                path: path.clone(),
                pod: pod.clone(),
                container: None,
            }),
            Kind::Container { pod, id } => out.push(Entry {
                path: path.clone(),
                pod: pod.clone(),
                container: Some(id.clone()),
            }),
        }
        for child in &self.children {
            child.entries(path, out);
        }
        path.truncate(length);
    }
}

impl Kind {
    /// What a directory of this name is below one of this kind; absent: nothing of interest.
    fn below(&self, name: &str) -> Option<Kind> {
        match (self, place::part(name)) {
            (Kind::Plain, Part::Pod(pod)) => Some(Kind::Pod(pod)),
            (Kind::Plain, Part::Both(pod, id)) => Some(Kind::Container {
                pod,
                id: id.to_owned(),
            }),
            // A container outside of pods may be a node of its own.
            (Kind::Plain, Part::Container(_) | Part::Other) => Some(Kind::Plain),
            (Kind::Pod(pod), Part::Container(id)) => Some(Kind::Container {
                pod: pod.clone(),
                id: id.to_owned(),
            }),
            _ => None,
        }
    }
}

/// The link count. By stat(2): half the price of the statx(2) of the standard library, for each directory of each look.
#[allow(clippy::unnecessary_cast)] // the width of this field differs between architectures
fn links(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::stat(path)?.st_nlink as u64)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound)
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6d2cd5a0-0f2b-4c37-9c69-1a2b3c4d5e6f";

    fn seen(tree: &Tree) -> Vec<&str> {
        let mut paths: Vec<&str> = tree.entries().iter().map(|entry| &*entry.path).collect();
        paths.sort();
        paths
    }

    fn make(root: &Path, path: &str) -> String {
        fs::create_dir_all(root.join(path)).unwrap();
        format!("/{path}")
    }

    #[test]
    fn pods_and_containers_are_found_and_followed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let id = |letter: &str| letter.repeat(64);
        let pod = make(root, &format!("kubepods/burstable/pod{UID}"));
        let first = make(root, &format!("kubepods/burstable/pod{UID}/{}", id("a")));
        make(
            root,
            &format!("kubepods/burstable/pod{UID}/{}/deeper", id("a")),
        );
        make(
            root,
            &format!("kubepods/burstable/pod{UID}/crio-conmon-{}", id("c")),
        );
        make(root, "system.slice/ssh.service");
        let mut tree = Tree::new(100);
        assert!(tree.refresh(root, true).unwrap());
        assert_eq!(seen(&tree), [pod.as_str(), first.as_str()]);
        assert!(!tree.refresh(root, false).unwrap());

        // One goes and another comes: the link count alone would not show it.
        fs::remove_dir_all(root.join(first.trim_start_matches('/'))).unwrap();
        let second = make(root, &format!("kubepods/burstable/pod{UID}/{}", id("b")));
        assert!(tree.refresh(root, true).unwrap());
        assert_eq!(seen(&tree), [pod.as_str(), second.as_str()]);

        // One more, and one fewer: it does.
        let third = make(root, &format!("kubepods/burstable/pod{UID}/{}", id("d")));
        assert!(tree.refresh(root, false).unwrap());
        assert!(seen(&tree).contains(&third.as_str()));
        fs::remove_dir_all(root.join(second.trim_start_matches('/'))).unwrap();
        assert!(tree.refresh(root, false).unwrap());
        assert_eq!(seen(&tree), [pod.as_str(), third.as_str()]);

        fs::remove_dir_all(root.join("kubepods/burstable")).unwrap();
        assert!(tree.refresh(root, false).unwrap());
        assert!(tree.entries().is_empty());
    }

    #[test]
    fn a_node_within_a_container_is_entered() {
        let root = tempfile::tempdir().unwrap();
        let node = "d".repeat(64);
        let path = format!("docker/{node}/kubelet/kubepods/pod{UID}/{}", "a".repeat(64));
        let container = make(root.path(), &path);
        let mut tree = Tree::new(100);
        tree.refresh(root.path(), true).unwrap();
        assert!(seen(&tree).contains(&container.as_str()));
        assert_eq!(tree.entries().len(), 2);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..10 {
            make(root.path(), &format!("kubepods/x{number}"));
        }
        let mut tree = Tree::new(6);
        tree.refresh(root.path(), true).unwrap();
        assert_eq!(tree.omitted(), 6);
        assert!(matches!(
            Tree::new(6).refresh(&root.path().join("none"), true),
            Err(HostError::Missing { .. })
        ));
    }
}

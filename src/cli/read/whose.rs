//! Whose log a file is, as far as its name and the links it leads through say.

use std::fs;
use std::path::{Path, PathBuf};

use crate::catalog::path::{
    PodName, container_name, docker_id, docker_log_name, link_id, log_name,
};
use crate::pods::PodState;
use crate::record::{ChainKey, ChainMeta};

/// Container link to pod log to docker's file: more links than these are not followed.
const LINKS_MAX: usize = 3;

/// What nothing is known of.
pub(super) fn nobody() -> ChainMeta {
    ChainMeta {
        key: ChainKey {
            pod_uid: String::new(),
            container: String::new(),
            restart: 0,
        },
        namespace: String::new(),
        pod: String::new(),
        container_id: String::new(),
        pod_state: PodState::Unasked,
    }
}

/// Whose log the file is; empty is what its path does not say. Only names and link targets are looked at.
pub(super) fn whose(path: &Path) -> ChainMeta {
    let mut meta = nobody();
    let mut next = std::path::absolute(path).ok();
    for _ in 0..=LINKS_MAX {
        let Some(path) = next else { break };
        learn(&mut meta, &path);
        next = target(&path);
    }
    meta
}

fn target(path: &Path) -> Option<PathBuf> {
    let target = fs::read_link(path).ok()?;
    // An absolute target takes the parent's place.
    Some(path.parent()?.join(target))
}

/// Adds what one path says.
fn learn(meta: &mut ChainMeta, path: &Path) {
    if meta.key.pod_uid.is_empty() {
        let _known = pod_log(meta, path);
    }
    if meta.pod.is_empty() {
        let _known = container_link(meta, path);
    }
    if meta.container_id.is_empty()
        && let Some(id) = id(path)
    {
        id.clone_into(&mut meta.container_id);
    }
}

/// `<namespace>_<pod>_<uid>/<container>/<restart>.log...`
fn pod_log(meta: &mut ChainMeta, path: &Path) -> Option<()> {
    let (restart, _) = log_name(path.file_name()?)?;
    let directory = path.parent()?;
    let container = container_name(directory.file_name()?)?;
    let PodName {
        namespace,
        pod,
        uid,
    } = PodName::parse(directory.parent()?.file_name()?)?;
    meta.key = ChainKey {
        pod_uid: uid,
        container: container.to_owned(),
        restart,
    };
    (meta.namespace, meta.pod) = (namespace, pod);
    Some(())
}

/// `<pod>_<namespace>_<container>-<id>.log`
fn container_link(meta: &mut ChainMeta, path: &Path) -> Option<()> {
    let name = path.file_name()?;
    let id = link_id(name)?;
    let rest = name
        .to_str()?
        .strip_suffix(".log")?
        .strip_suffix(id)?
        .strip_suffix('-')?;
    let mut parts = rest.split('_');
    let mut part = || container_name(parts.next()?.as_ref()).map(str::to_owned);
    let (pod, namespace, container) = (part()?, part()?, part()?);
    if parts.next().is_none() {
        (meta.pod, meta.namespace, meta.key.container) = (pod, namespace, container);
    }
    Some(())
}

/// The container's id, of a container link or of docker's file.
fn id(path: &Path) -> Option<&str> {
    let name = path.file_name()?;
    link_id(name).or_else(|| {
        let directory = path.parent()?;
        let id = directory.file_name()?.to_str()?;
        docker_log_name(name, id)?;
        docker_id(&directory.join(format!("{id}-json.log"))).map(|_| id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Namespace, pod, uid, container, restart, id.
    fn parts(path: &Path) -> [String; 6] {
        let meta = whose(path);
        let key = meta.key;
        [
            meta.namespace,
            meta.pod,
            key.pod_uid,
            key.container,
            key.restart.to_string(),
            meta.container_id,
        ]
    }

    #[test]
    fn the_path_of_a_pod_log_says_all_but_the_id() {
        for name in ["7.log", "7.log.20240102-030405", "7.log.20240102-030405.gz"] {
            let path = format!("/anywhere/shop_cart-0_0a-1b/main/{name}");
            assert_eq!(
                parts(Path::new(&path)),
                ["shop", "cart-0", "0a-1b", "main", "7", ""]
            );
        }
    }

    #[test]
    fn the_name_of_a_container_link_says_all_but_the_uid() {
        let id = "ab".repeat(32);
        let path = format!("/anywhere/cart-0_shop_side-car-{id}.log");
        assert_eq!(
            parts(Path::new(&path)),
            ["shop", "cart-0", "", "side-car", "0", &id]
        );
    }

    #[test]
    fn other_names_say_nothing() {
        let id = "ab".repeat(32);
        for path in [
            "x.log".to_owned(),
            "/shop_cart-0/main/7.log".to_owned(),
            "/shop_cart-0_u/main/x.log".to_owned(),
            "/shop_cart-0_u/7.log".to_owned(),
            format!("/a_b_c_d-{id}.txt"),
        ] {
            assert_eq!(parts(Path::new(&path)), ["", "", "", "", "0", ""], "{path}");
        }
        let path = format!("/a_b-{id}.log");
        assert_eq!(parts(Path::new(&path)), ["", "", "", "", "0", &id]);
    }

    #[test]
    fn links_are_followed_to_what_their_own_name_does_not_say() {
        let root = tempfile::tempdir().unwrap();
        let id = "cd".repeat(32);
        let at = |path: &str| root.path().join(path);
        let docker = at(&format!("docker/{id}/{id}-json.log"));
        let pod_log = at("pods/shop_cart-0_0a1b/main/3.log");
        let link = at(&format!("containers/cart-0_shop_main-{id}.log"));
        for path in [&docker, &pod_log, &link] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(&docker, "").unwrap();
        std::os::unix::fs::symlink(&docker, &pod_log).unwrap();
        std::os::unix::fs::symlink("../pods/shop_cart-0_0a1b/main/3.log", &link).unwrap();
        let all = ["shop", "cart-0", "0a1b", "main", "3", id.as_str()];
        assert_eq!(parts(&link), all);
        assert_eq!(parts(&pod_log), all);
        let rotated = at(&format!("docker/{id}/{id}-json.log.1"));
        for path in [&docker, &rotated] {
            assert_eq!(parts(path), ["", "", "", "", "0", &id]);
        }
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("circle.log");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert_eq!(whose(&path), nobody());
    }
}

//! Which pod the agent itself runs in, so that its own log is not collected (and so does not feed itself).
//!
//! Pure over an environment and a `/proc/self`; a wrong answer would hide somebody else's log, so whatever is
//! not certain is `None`.

use std::path::Path;

/// The agent's own pod. At least `uid`, or `name` and `namespace` together, is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// The uid; for a static pod as its cgroup and log directory name it (the config hash).
    pub uid: Option<String>,
    /// The name; never without the namespace.
    pub name: Option<String>,
    /// The namespace; never without the name.
    pub namespace: Option<String>,
}

impl OwnPod {
    /// Whether a pod log directory `<namespace>_<name>_<uid>` is the agent's own. Either way of knowing is
    /// enough: the API's uid of a static pod is not the one in the directory's name.
    pub fn is(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let named =
            self.name.as_deref() == Some(name) && self.namespace.as_deref() == Some(namespace);
        named || self.uid.as_deref() == Some(uid)
    }
}

/// Finds the agent's own pod: `POD_UID`, or `POD_NAME` with `POD_NAMESPACE` (both by the downward API), else the
/// pod uid in `cgroup`, else the one in `mountinfo`, both below `proc_self` (`/proc/self`). `None` outside a pod.
pub fn find(env: &dyn Fn(&str) -> Option<String>, proc_self: &Path) -> Option<OwnPod> {
    let given = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut pod = OwnPod {
        uid: given("POD_UID"),
        ..OwnPod::default()
    };
    if let (Some(name), Some(namespace)) = (given("POD_NAME"), given("POD_NAMESPACE")) {
        pod.name = Some(name);
        pod.namespace = Some(namespace);
    }
    if pod.uid.is_none() && pod.name.is_none() {
        let read = |file: &str| std::fs::read(proc_self.join(file)).unwrap_or_default();
        let uid = uid_in_cgroup(&String::from_utf8_lossy(&read("cgroup")))
            .or_else(|| uid_in_mountinfo(&String::from_utf8_lossy(&read("mountinfo"))))?;
        pod.uid = Some(uid);
    }
    Some(pod)
}

/// The pod uid in `/proc/self/cgroup` (cgroups(7): `hierarchy:controllers:path` per line). The innermost one
/// counts: a node may itself be a container of an outer cluster.
fn uid_in_cgroup(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(|path| path.rsplit(['/', ':']).find_map(uid_in_cgroup_name))
}

/// One cgroup directory name: `pod<uid>` (cgroupfs driver) or `...-pod<uid with underscores>.slice` (systemd).
fn uid_in_cgroup_name(name: &str) -> Option<String> {
    if let Some(uid) = name.strip_prefix("pod") {
        return uid_of(uid);
    }
    let (_, uid) = name.strip_suffix(".slice")?.rsplit_once("-pod")?;
    uid_of(uid)
}

/// The pod uid in `/proc/self/mountinfo` (proc(5): the fourth field is the mount's root within its file system,
/// the fifth where it is mounted). Where the cgroup namespace hides the cgroup path, the kubelet's own mounts
/// still name the pod. A root may lack its head (`/var/lib/kubelet`) when that is a file system of its own.
///
/// An agent may have the directories of other pods mounted too, so only mounts that the kubelet makes for every
/// pod count, or, without those, a uid that is the only one there is.
fn uid_in_mountinfo(text: &str) -> Option<String> {
    let mut others: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(target)) = (fields.next(), fields.next()) else {
            continue;
        };
        let Some(uid) = uid_in_kubelet_path(root) else {
            continue;
        };
        if matches!(target, "/etc/hosts" | "/dev/termination-log") {
            return Some(uid);
        }
        if !others.contains(&uid) {
            others.push(uid);
        }
    }
    match others.len() {
        1 => others.pop(),
        _ => None,
    }
}

/// `[/var/lib/kubelet]/pods/<uid>/...`
fn uid_in_kubelet_path(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/pods/")?;
    let (uid, _) = rest.split_once('/')?;
    uid_of(uid)
}

/// A uid in its canonical form: a UUID (systemd cgroups write `_` for `-`) or a static pod's 32 hex digits.
fn uid_of(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let uuid = uid.len() == 36
        && uid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let hash = uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit());
    (uuid || hash).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6d2cd5a0-0f2b-4c37-9c69-1a2b3c4d5e6f";
    const OTHER: &str = "11111111-2222-3333-4444-555555555555";
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    const CID: &str = "8f1c4e0a7b5d9c3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e";

    fn found(
        env: &[(&str, &str)],
        cgroup: Option<&str>,
        mountinfo: Option<&str>,
    ) -> Option<OwnPod> {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [("cgroup", cgroup), ("mountinfo", mountinfo)] {
            if let Some(content) = content {
                std::fs::write(directory.path().join(name), content).unwrap();
            }
        }
        let env = |name: &str| {
            let pair = env.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        find(&env, directory.path())
    }

    fn uid_from(cgroup: &str) -> Option<String> {
        found(&[], Some(cgroup), None).and_then(|pod| pod.uid)
    }

    #[test]
    fn the_environment_comes_first() {
        let cgroup = format!("0::/kubepods/pod{OTHER}/{CID}\n");
        let by_uid = found(&[("POD_UID", UID)], Some(&cgroup), None).unwrap();
        assert_eq!(by_uid.uid.as_deref(), Some(UID));
        assert_eq!(by_uid.name, None);

        let env = [("POD_NAME", "agent-x"), ("POD_NAMESPACE", "kube-system")];
        let by_name = found(&env, Some(&cgroup), None).unwrap();
        assert_eq!(by_name.uid, None);
        assert!(by_name.is("kube-system", "agent-x", "any"));
        assert!(!by_name.is("default", "agent-x", "any"));
    }

    #[test]
    fn half_a_name_is_no_name() {
        let cgroup = format!("0::/kubepods/pod{UID}/{CID}\n");
        let env = [
            ("POD_NAME", "agent-x"),
            ("POD_NAMESPACE", ""),
            ("POD_UID", ""),
        ];
        let pod = found(&env, Some(&cgroup), None).unwrap();
        assert_eq!(pod.uid.as_deref(), Some(UID));
        assert_eq!((pod.name, pod.namespace), (None, None));
    }

    #[test]
    fn a_static_pod_is_known_by_its_name_too() {
        let env = [
            ("POD_UID", UID),
            ("POD_NAME", "agent-node1"),
            ("POD_NAMESPACE", "kube-system"),
        ];
        let pod = found(&env, None, None).unwrap();
        assert!(pod.is("kube-system", "agent-node1", HASH));
        assert!(pod.is("elsewhere", "other", UID));
        assert!(!pod.is("kube-system", "agent-node2", HASH));
    }

    #[test]
    fn cgroup_v1_and_v2_of_each_driver_and_runtime() {
        let under = UID.replace('-', "_");
        let cases = [
            format!(
                "12:pids:/kubepods/besteffort/pod{UID}/{CID}\n11:cpu:/kubepods/besteffort/pod{UID}/{CID}\n"
            ),
            format!("0::/kubepods/pod{UID}/{CID}\n"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{CID}.scope\n"
            ),
            format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-{CID}.scope/container\n"),
            format!(
                "3:memory:/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:{CID}\n"
            ),
            format!(
                "0::/../../kubelet-kubepods-besteffort-pod{under}.slice/cri-containerd-{CID}.scope\n"
            ),
            format!(
                "1:name=systemd:/user.slice\n0::/kubepods.slice/kubepods-pod{under}.slice/docker-{CID}.scope\n"
            ),
        ];
        for case in cases {
            assert_eq!(uid_from(&case).as_deref(), Some(UID), "{case}");
        }
        let hashed =
            format!("0::/kubepods.slice/kubepods-burstable-pod{HASH}.slice/crio-{CID}.scope\n");
        assert_eq!(uid_from(&hashed).as_deref(), Some(HASH));
    }

    #[test]
    fn the_innermost_pod_of_a_nested_node_counts() {
        let nested = format!(
            "0::/kubepods/burstable/pod{OTHER}/{CID}/kubelet/kubepods/besteffort/pod{UID}/{CID}\n"
        );
        assert_eq!(uid_from(&nested).as_deref(), Some(UID));
    }

    #[test]
    fn outside_a_pod_there_is_none() {
        assert_eq!(found(&[], None, None), None);
        for cgroup in [
            "0::/\n",
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "0::/kubepods/podsomething/x\n",
            "0::/kubepods.slice/kubepods-pod123.slice\n",
            "nonsense\n::\n\n",
        ] {
            assert_eq!(uid_from(cgroup), None, "{cgroup}");
        }
    }

    fn mount(root: &str, target: &str) -> String {
        format!("2113 2098 259:1 {root} {target} rw,noatime - ext4 /dev/root rw,discard\n")
    }

    fn uid_mounted(mountinfo: &str) -> Option<String> {
        found(&[], Some("0::/\n"), Some(mountinfo)).and_then(|pod| pod.uid)
    }

    #[test]
    fn mountinfo_answers_where_the_cgroup_is_hidden() {
        let hosts = mount(
            &format!("/var/lib/kubelet/pods/{UID}/etc-hosts"),
            "/etc/hosts",
        );
        assert_eq!(uid_mounted(&hosts).as_deref(), Some(UID));
        let own_disk = mount(
            &format!("/pods/{UID}/containers/agent/0a1b"),
            "/dev/termination-log",
        );
        assert_eq!(uid_mounted(&own_disk).as_deref(), Some(UID));
        let volume = mount(
            &format!("/var/lib/kubelet/pods/{UID}/volumes/x/config"),
            "/etc/agent",
        );
        assert_eq!(uid_mounted(&volume).as_deref(), Some(UID));
    }

    #[test]
    fn mounts_of_other_pods_do_not_mislead() {
        let other = mount(
            &format!("/var/lib/kubelet/pods/{OTHER}/volumes/y"),
            "/host/y",
        );
        let hosts = mount(
            &format!("/var/lib/kubelet/pods/{UID}/etc-hosts"),
            "/etc/hosts",
        );
        assert_eq!(
            uid_mounted(&format!("{other}{hosts}")).as_deref(),
            Some(UID)
        );
        let own = mount(
            &format!("/var/lib/kubelet/pods/{UID}/volumes/x"),
            "/etc/agent",
        );
        assert_eq!(uid_mounted(&format!("{other}{own}")), None);
        assert_eq!(uid_mounted("1 2 3\n\nx\n"), None);
    }
}

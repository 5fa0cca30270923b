//! What a cgroup's path says: which pod it belongs to, and which container. Pure.
//!
//! The kubelet's systemd driver writes a pod as `...-pod<uid>.slice` with `_` for `-`, its cgroupfs driver as
//! `pod<uid>`; a static pod has 32 hex digits (its config hash) in place of a uid. Runtimes write a container as its
//! id of 64 hex digits, alone or as `<runtime>-<id>[.scope]`; where runtime and kubelet disagree about the driver, both
//! are one name, `<slice>:<runtime>:<id>`. Whatever stands before a pod (`kubelet.slice`, a whole outer container)
//! does not matter.

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pod's uid, with `-`; of a static pod its config hash.
    pub pod: String,
    /// The container's id; absent: the cgroup is the pod's own.
    pub container: Option<String>,
}

/// What one directory name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A pod, by its uid.
    Pod(String),
    /// A container, by its id; whether it is one of a pod depends on what stands before it.
    Container(&'a str),
    /// A container of a pod, in one name.
    Both(String, &'a str),
    /// Neither.
    Other,
}

/// Takes one directory name apart.
pub fn part(name: &str) -> Part<'_> {
    if let Some((slice, rest)) = name.split_once(':') {
        let id = rest.rsplit_once(':').map(|(_, id)| id).and_then(id_of);
        return match (pod_of(slice), id) {
            (Some(pod), Some(id)) => Part::Both(pod, id),
            _ => Part::Other,
        };
    }
    if let Some(pod) = pod_of(name) {
        return Part::Pod(pod);
    }
    let scope = name.strip_suffix(".scope").unwrap_or(name);
    let id = match scope.rsplit_once('-') {
        // The monitor that CRI-O runs beside each container.
        Some((runtime, _)) if runtime.ends_with("conmon") => None,
        Some((_, id)) => id_of(id),
        None => id_of(scope),
    };
    id.map_or(Part::Other, Part::Container)
}

/// Takes a cgroup's path apart: the first pod in it, and the container right below that. What lies deeper (the
/// `container` leaf that CRI-O may make, the cgroups of a container that runs containers) belongs to that container.
pub fn place(path: &str) -> Option<Place> {
    let mut parts = path.split('/').map(part);
    let (pod, container) = parts.find_map(|part| match part {
        Part::Pod(pod) => Some((pod, None)),
        Part::Both(pod, id) => Some((pod, Some(id))),
        _ => None,
    })?;
    let container = container.or_else(|| match parts.next() {
        Some(Part::Container(id)) => Some(id),
        _ => None,
    });
    Some(Place {
        pod,
        container: container.map(str::to_owned),
    })
}

/// The pod's uid in `pod<uid>` or `...-pod<uid>.slice`.
fn pod_of(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1,
        None => name.strip_prefix("pod")?,
    };
    uid_of(uid)
}

/// A uid in its canonical form.
fn uid_of(text: &str) -> Option<String> {
    let hash = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => byte.is_ascii_hexdigit(),
        });
    (hash || uuid).then(|| text.replace('_', "-"))
}

/// A container's id.
pub fn id_of(text: &str) -> Option<&str> {
    let whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "6d2cd5a0-0f2b-4c37-9c69-1a2b3c4d5e6f";
    const SLICE: &str = "6d2cd5a0_0f2b_4c37_9c69_1a2b3c4d5e6f";
    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn found(path: &str) -> Option<(String, Option<String>)> {
        place(path).map(|place| (place.pod, place.container))
    }

    #[test]
    fn paths_of_all_drivers_and_runtimes_are_known() {
        let id = "ab".repeat(32);
        let of = |uid: &str| Some((uid.to_owned(), Some(id.clone())));
        for path in [
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE}.slice/cri-containerd-{id}.scope"
            ),
            format!("kubepods.slice/kubepods-pod{SLICE}.slice/crio-{id}.scope"),
            format!("kubepods.slice/kubepods-pod{SLICE}.slice/crio-{id}.scope/container"),
            format!("kubepods/besteffort/pod{UID}/{id}"),
            format!("kubepods/burstable/pod{UID}/crio-{id}"),
            format!(
                "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SLICE}.slice/cri-containerd-{id}.scope"
            ),
            format!("docker/{}/kubelet/kubepods/pod{UID}/{id}", "cd".repeat(32)),
            format!(
                "system.slice/containerd.service/kubepods-pod{SLICE}.slice:cri-containerd:{id}"
            ),
            format!("kubepods.slice/kubepods-pod{SLICE}.slice/docker-{id}.scope"),
            // As a process of another cgroup namespace sees it.
            format!("/../../kubepods-pod{SLICE}.slice/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(found(&path), of(UID), "{path}");
        }
        let path = format!("kubepods.slice/kubepods-burstable-pod{HASH}.slice/crio-{id}.scope");
        assert_eq!(found(&path), of(HASH));
    }

    #[test]
    fn a_pod_itself_has_no_container() {
        let pod = Some((UID.to_owned(), None));
        assert_eq!(found(&format!("kubepods/pod{UID}")), pod);
        let conmon = format!("kubepods/pod{UID}/crio-conmon-{}.scope", "ab".repeat(32));
        assert_eq!(found(&conmon), pod);
    }

    #[test]
    fn what_is_outside_of_pods_is_nobodys() {
        for path in [
            "",
            "/",
            "kubepods.slice",
            "system.slice/docker-.scope",
            "kubepods/podx",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found(&format!("docker/{}", "ab".repeat(32))), None);
    }

    /// What a path is made of.
    #[derive(Clone, Debug)]
    struct Model {
        prefix: usize,
        class: usize,
        systemd: bool,
        runtime: usize,
        uid: String,
        id: String,
        leaf: bool,
    }

    impl Model {
        fn path(&self) -> String {
            let class = ["", "burstable", "besteffort"][self.class];
            let runtime = ["", "cri-containerd-", "crio-", "docker-"][self.runtime];
            let leaf = if self.leaf { "/container" } else { "" };
            if !self.systemd {
                let prefix = ["", "kubelet/", "docker/outer/kubelet/"][self.prefix];
                let class = if class.is_empty() {
                    String::new()
                } else {
                    format!("{class}/")
                };
                return format!(
                    "/{prefix}kubepods/{class}pod{}/{runtime}{}{leaf}",
                    self.uid, self.id
                );
            }
            let (slice, prefix) = [
                ("kubepods", ""),
                ("kubelet-kubepods", "kubelet.slice/"),
                (
                    "kubelet-kubepods",
                    "system.slice/docker-x.scope/kubelet.slice/",
                ),
            ][self.prefix];
            let (class, dash) = match class {
                "" => (String::new(), String::new()),
                class => (format!("{slice}-{class}.slice/"), format!("-{class}")),
            };
            let uid = self.uid.replace('-', "_");
            format!(
                "/{prefix}{slice}.slice/{class}{slice}{dash}-pod{uid}.slice/{runtime}{}.scope{leaf}",
                self.id
            )
        }
    }

    fn model() -> impl Strategy<Value = Model> {
        let uid = prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9a-f]{32}",
        ];
        (
            0..3_usize,
            0..3_usize,
            any::<bool>(),
            0..4_usize,
            uid,
            "[0-9a-f]{64}",
            any::<bool>(),
        )
            .prop_map(|(prefix, class, systemd, runtime, uid, id, leaf)| Model {
                prefix,
                class,
                systemd,
                runtime,
                uid,
                id,
                leaf,
            })
    }

    proptest! {
        /// The path that a driver and a runtime make of a pod and a container names exactly these.
        #[test]
        fn a_made_path_is_taken_apart(model in model()) {
            let place = place(&model.path());
            prop_assert_eq!(place, Some(Place { pod: model.uid, container: Some(model.id) }));
        }

        /// No text stops it, and what it finds is well formed and stands in the text.
        #[test]
        fn any_text_is_taken(text in "(pod|-pod|.slice|/|:|[0-9a-f_-]{36}|[0-9a-f]{64}|.){0,12}") {
            if let Some(place) = place(&text) {
                prop_assert!(uid_of(&place.pod).is_some());
                prop_assert!(text.replace('_', "-").contains(&place.pod));
                if let Some(id) = place.container {
                    prop_assert_eq!(id_of(&id), Some(id.as_str()));
                    prop_assert!(text.contains(&id));
                }
            }
        }
    }
}

//! What names mean: pod directories, log files, docker's files, container links. Pure; everything that is not
//! exactly of a known form is refused, because a pod may be able to write into its own log directory.
//!
//! The forms are those of the kubelet (`<namespace>_<pod>_<uid>/<container>/<restart>.log[.<time>][.gz]`) and of
//! docker's json-file driver (`<id>/<id>-json.log[.<n>][.gz]`).

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::path::{Component, Path};

/// Whose pod directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// The pod's uid; of a static pod its config hash.
    pub uid: String,
}

impl PodName {
    /// Takes the name of a pod directory apart.
    pub fn parse(name: &OsStr) -> Option<PodName> {
        let mut parts = name.to_str()?.split('_');
        let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none();
        (whole && is_word(namespace, 63) && is_word(pod, 253) && is_word(uid, 128)).then(|| {
            PodName {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                uid: uid.to_owned(),
            }
        })
    }
}

/// The name of a container directory, if it can be one.
pub fn container_name(name: &OsStr) -> Option<&str> {
    name.to_str().filter(|name| is_word(name, 253))
}

/// Letters, digits, `-` and `.`, beginning with a letter or digit (so neither `.` nor `..`).
fn is_word(text: &str, bytes_max: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    text.len() <= bytes_max
        && text.bytes().all(inner)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// The name of one log file within its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// The whole name without `.gz`: what a file and its compressed form have in common.
    pub base: String,
    /// What rotation appended; empty: the live file.
    pub suffix: String,
    /// Whether it is compressed.
    pub gzip: bool,
}

impl LogName {
    /// Longest suffix of a rotated file.
    pub const SUFFIX_BYTES_MAX: usize = 64;

    /// Whether it is the file that the runtime appends to.
    pub fn live(&self) -> bool {
        self.suffix.is_empty()
    }

    /// Whether rotation numbers its files and shifts the numbers, as docker's does.
    pub fn is_numbered(&self) -> bool {
        number(&self.suffix).is_some()
    }

    /// Reads `<stem>`, `<stem>.<suffix>`, `<stem>.<suffix>.gz`.
    fn after_stem(stem: &str, rest: &str) -> Option<LogName> {
        let (plain, gzip) = match rest.strip_suffix(".gz") {
            Some(plain) => (plain, true),
            None => (rest, false),
        };
        let suffix = match plain.strip_prefix('.') {
            Some(suffix) if is_suffix(suffix) => suffix,
            None if plain.is_empty() && !gzip => "",
            _ => return None,
        };
        Some(LogName {
            base: format!("{stem}{plain}"),
            suffix: suffix.to_owned(),
            gzip,
        })
    }

    /// Older first: rotation times ascend, rotation numbers (docker, logrotate) descend, the live file is last.
    pub fn age_order(&self, other: &LogName) -> Ordering {
        match (self.live(), other.live()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => match (number(&self.suffix), number(&other.suffix)) {
                (Some(mine), Some(theirs)) => theirs.cmp(&mine),
                _ => self.suffix.cmp(&other.suffix),
            },
        }
    }
}

/// `tmp` is the kubelet's unfinished gzip and never a log.
fn is_suffix(suffix: &str) -> bool {
    (1..=LogName::SUFFIX_BYTES_MAX).contains(&suffix.len())
        && suffix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !suffix.ends_with("tmp")
        && suffix != "gz"
}

/// A rotation number is short; what is longer is a time.
fn number(suffix: &str) -> Option<u32> {
    (suffix.len() <= 4).then(|| suffix.parse().ok()).flatten()
}

/// Takes the name of a file in a container directory apart: restart count and name. `None`: not a log.
pub fn log_name(name: &OsStr) -> Option<(u32, LogName)> {
    let name = name.to_str()?;
    let (digits, rest) = name.split_once(".log")?;
    let plain_number = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    let restart = plain_number.then(|| digits.parse().ok()).flatten()?;
    Some((
        restart,
        LogName::after_stem(&format!("{digits}.log"), rest)?,
    ))
}

/// The container's id, if the path is that of docker's live log file: `.../<id>/<id>-json.log`, without `..`.
pub fn docker_id(path: &Path) -> Option<&str> {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return None;
    }
    let id = path.file_name()?.to_str()?.strip_suffix("-json.log")?;
    let same = path.parent()?.file_name()?.to_str()? == id;
    (same && is_id(id)).then_some(id)
}

/// Takes the name of a file in docker's directory of container `id` apart.
pub fn docker_log_name(name: &OsStr, id: &str) -> Option<LogName> {
    let stem = format!("{id}-json.log");
    let rest = name.to_str()?.strip_prefix(&stem)?;
    LogName::after_stem(&stem, rest)
}

fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The container id in the name of a container link, `<pod>_<namespace>_<container>-<id>.log`.
pub fn link_id(name: &OsStr) -> Option<&str> {
    let (_, id) = name.to_str()?.strip_suffix(".log")?.rsplit_once('-')?;
    is_id(id).then_some(id)
}

/// What names a chain's live file wherever the log root is mounted: the last three parts of its path.
pub fn log_key(path: &Path) -> Option<String> {
    let mut parts = path.components().rev();
    let mut part = || match parts.next()? {
        Component::Normal(part) => part.to_str(),
        _ => None,
    };
    let (file, container, pod) = (part()?, part()?, part()?);
    Some([pod, container, file].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> Option<(u32, String, bool, bool)> {
        log_name(OsStr::new(name)).map(|(restart, name)| {
            let live = name.live();
            (restart, name.base, name.gzip, live)
        })
    }

    #[test]
    fn log_names_of_the_kubelet_are_taken_apart() {
        assert_eq!(log("0.log"), Some((0, "0.log".into(), false, true)));
        let rotated = "12.log.20240102-030405";
        assert_eq!(log(rotated), Some((12, rotated.into(), false, false)));
        assert_eq!(
            log("12.log.20240102-030405.gz"),
            Some((12, rotated.into(), true, false))
        );
    }

    #[test]
    fn what_is_not_a_log_name_is_refused() {
        let long = format!("0.log.{}", "x".repeat(65));
        for name in [
            "0.log.20240102-030405.tmp",
            "0.log.gz",
            "0.log.",
            "0.log..gz",
            "00.log",
            "-1.log",
            "+1.log",
            ".log",
            "x.log",
            "4294967296.log",
            "0.logx",
            "0.log.a b",
            "0.log.a/b",
            "log",
            "",
            &long,
        ] {
            assert_eq!(log(name), None, "{name}");
        }
    }

    #[test]
    fn pod_directories_have_three_parts() {
        let parsed = PodName::parse(OsStr::new("kube-system_etcd-n1_0a1b"));
        assert_eq!(parsed.map(|name| name.uid), Some("0a1b".to_owned()));
        for name in [
            "a_b", "a_b_c_d", "a__c", "_b_c", "a_.._c", "a_b/c_d", "a_b_c\n",
        ] {
            assert_eq!(PodName::parse(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn docker_targets_name_their_directory() {
        let id = "ab".repeat(32);
        let path = format!("/var/lib/docker/containers/{id}/{id}-json.log");
        assert_eq!(docker_id(Path::new(&path)), Some(id.as_str()));
        let other = "cd".repeat(32);
        for path in [
            format!("/c/{other}/{id}-json.log"),
            format!("/c/../{id}/{id}-json.log"),
            format!("{id}/{id}-json.log"),
            "/etc/shadow".to_owned(),
            "/c/ab/ab-json.log".to_owned(),
        ] {
            assert_eq!(docker_id(Path::new(&path)), None, "{path}");
        }
    }

    #[test]
    fn rotated_names_sort_by_age() {
        let name = |text: &str| log_name(OsStr::new(text)).unwrap().1;
        let mut names = ["0.log", "0.log.2", "0.log.10", "0.log.1"].map(name);
        names.sort_by(LogName::age_order);
        assert_eq!(
            names.map(|name| name.base),
            ["0.log.10", "0.log.2", "0.log.1", "0.log"]
        );
    }

    #[test]
    fn a_link_names_its_log_wherever_the_root_is_mounted() {
        let key = log_key(Path::new("/var/log/pods/n_p_u/c/0.log"));
        assert_eq!(key, log_key(Path::new("/host/logs/n_p_u/c/0.log")));
        assert_eq!(log_key(Path::new("c/0.log")), None);
    }
}

//! What is collected: the rules that decide for each container whether its log is read.

use super::glob::Glob;
use super::keys::{Key, Known, key};
use super::selector::Selector;

/// Which containers a sink collects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// If a list in it is not empty, one of its items has to match, for each of the lists.
    pub include: Rules,
    /// Where one item of one list matches, the container is left out, whatever else matches.
    pub exclude: Rules,
    /// Which of a container's outputs are collected.
    pub streams: Streams,
    /// What becomes of a container of whose pod nothing can be learned any more.
    pub metadata_missing: MetadataMissing,
    /// The annotations of pods that are obeyed, of [`ANNOTATIONS`].
    pub pod_annotations: Vec<&'static str>,
}

/// What to look for. The items of a list are alternatives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Namespaces.
    pub namespaces: Vec<Glob>,
    /// Pod names.
    pub pods: Vec<Glob>,
    /// Container names.
    pub containers: Vec<Glob>,
    /// What the pod belongs to, as `KIND/NAME`; a pod by itself is `Pod/NAME`.
    pub workloads: Vec<Glob>,
    /// Images, as the pod asks for them.
    pub images: Vec<Glob>,
    /// The pod's labels.
    pub labels: Vec<Selector>,
    /// The pod's annotations.
    pub annotations: Vec<Selector>,
    /// Its namespace's labels.
    pub namespace_labels: Vec<Selector>,
}

impl Rules {
    /// Whether something has to be known that paths do not say.
    pub fn need_metadata(&self) -> bool {
        !(self.workloads.is_empty()
            && self.images.is_empty()
            && self.labels.is_empty()
            && self.annotations.is_empty()
            && self.namespace_labels.is_empty())
    }
}

/// Which of a container's outputs are collected; at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// What becomes of a container of whose pod nothing can be learned, where a rule or an annotation would have to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMissing {
    /// It stays unread.
    Wait,
    /// It is collected.
    Include,
    /// It is left out.
    Exclude,
}

impl MetadataMissing {
    /// All of them, by the words of the config.
    pub const ALL: [(&'static str, MetadataMissing); 3] = [
        ("wait", MetadataMissing::Wait),
        ("include", MetadataMissing::Include),
        ("exclude", MetadataMissing::Exclude),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        let found = MetadataMissing::ALL.iter().find(|(_, it)| *it == self);
        found.map_or("wait", |(word, _)| word)
    }
}

/// Every annotation that a pod may say something by. Its forms for one container or one stream belong to it.
pub const ANNOTATIONS: [&str; 13] = [
    "longshore.dev/exclude",
    "longshore.dev/multiline",
    "longshore.dev/parse-json",
    "longshore.dev/sample",
    "longshore.dev/rate",
    "longshore.dev/redact",
    "longshore.dev/min-level",
    "fluentbit.io/exclude",
    "vector.dev/exclude",
    "vector.dev/exclude-containers",
    "co.elastic.logs/enabled",
    "ad.datadoghq.com/exclude",
    "ad.datadoghq.com/logs_exclude",
];

impl Default for Select {
    fn default() -> Select {
        Select {
            include: Rules::default(),
            exclude: Rules::default(),
            streams: Streams {
                stdout: true,
                stderr: true,
            },
            metadata_missing: MetadataMissing::Wait,
            pod_annotations: ANNOTATIONS.to_vec(),
        }
    }
}

/// Most items of one list.
pub const ITEMS_MAX: usize = 256;

const GLOBS: &str = "a list of at most 256 globs";
const SELECTORS: &str = "a list of at most 256 selectors of labels";

/// `select`.
pub static SELECT: [Key; 5] = [
    key("include", "a mapping"),
    key("exclude", "a mapping"),
    key("streams", "a list of stdout, stderr or both"),
    key("metadata_missing", "wait, include or exclude"),
    key(
        "pod_annotations",
        "all, none, or a list of names of annotations",
    ),
];

/// `select.include` and `select.exclude`.
pub static RULES: [Key; 8] = [
    key("namespaces", GLOBS),
    key("pods", GLOBS),
    key("containers", GLOBS),
    key("workloads", "a list of at most 256 globs for KIND/NAME"),
    key("images", GLOBS),
    key("labels", SELECTORS),
    key(
        "annotations",
        "a list of at most 256 selectors of annotations",
    ),
    key("namespace_labels", SELECTORS),
];

/// The places that these keys have in a config; those of sinks have the same.
pub fn places() -> [(&'static str, Known); 3] {
    [
        ("logs.select", Known::of(&SELECT)),
        ("logs.select.include", Known::of(&RULES)),
        ("logs.select.exclude", Known::of(&RULES)),
    ]
}

//! Whether a chain is collected, and which rule says so. Pure: the same is known, the same is decided.
//!
//! What speaks first decides:
//!
//! | | says | is known by |
//! |---|---|---|
//! | 1 | `exclude.namespaces`, `pods`, `containers` | the path |
//! | 2 | `include.namespaces`, `pods`, `containers`, of which none matches | the path |
//! | 3 | `exclude.workloads`, `images`, `labels`, `annotations`, `namespace_labels` | the cluster |
//! | 4 | `include` of these, of which none matches | the cluster |
//! | 5 | the pod's annotations, as far as they are obeyed | the cluster |
//! | 6 | `streams` together with annotations for one stream | the cluster |
//! | 7 | nothing: it is collected | |
//!
//! So an annotation excludes what the config includes, and never includes what the config excludes. Where 3 to 6 would
//! have to be known and are not, the chain waits; what the path decides never waits.

use super::annotations::Wishes;
use super::plan::Decision;
use crate::config::glob::Glob;
use crate::config::select::{MetadataMissing, Rules, Select};
use crate::config::selector::Selector;
use crate::pods::{PodInfo, PodState};
use crate::record::{ChainMeta, Stream};

/// Who excluded something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The config.
    #[default]
    Rule,
    /// The pod's author.
    Annotation,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the chain is read.
    pub decision: Decision,
    /// What decided that, for people.
    pub rule: String,
    /// Who excluded it, if it is excluded.
    pub by: By,
    /// Per stream: who excluded its lines.
    pub left_out: [Option<By>; 2],
}

impl Verdict {
    fn exclude(rule: String, by: By) -> Verdict {
        Verdict {
            decision: Decision::Exclude,
            rule,
            by,
            left_out: [Some(by); 2],
        }
    }

    fn wait(rule: &str) -> Verdict {
        Verdict {
            decision: Decision::Wait,
            rule: rule.to_owned(),
            by: By::Rule,
            left_out: [None; 2],
        }
    }
}

/// Decides about a chain; `wishes` are what its pod's annotations say, as far as they are known.
pub fn decide(select: &Select, chain: &ChainMeta, wishes: &Wishes) -> Verdict {
    if let Some(rule) = by_path(select, chain) {
        return Verdict::exclude(rule, By::Rule);
    }
    let Some(info) = chain.pod_state.info() else {
        return without_metadata(select, chain);
    };
    let container = &chain.key.container;
    let image = info.container(container).map(|it| it.image.as_str());
    let workload = workload_of(info);
    if let Some(rule) = by_cluster(select, info, &workload, image) {
        return Verdict::exclude(rule, By::Rule);
    }
    if let Some(annotation) = &wishes.excluded_by {
        return Verdict::exclude(annotation.clone(), By::Annotation);
    }
    let images = |rules: &Rules| !rules.images.is_empty();
    if image.is_none() && (images(&select.include) || images(&select.exclude)) {
        // A container that the pod had not when it was asked about.
        return missing(select, "images: nothing is known of the container");
    }
    by_stream(select, wishes)
}

/// What is decided by the path alone, against collecting it.
fn by_path(select: &Select, chain: &ChainMeta) -> Option<String> {
    let facts = |rules: &Rules| {
        [
            ("namespaces", hit(&rules.namespaces, &chain.namespace)),
            ("pods", hit(&rules.pods, &chain.pod)),
            ("containers", hit(&rules.containers, &chain.key.container)),
        ]
    };
    against(facts(&select.exclude).into(), facts(&select.include).into())
}

/// What is decided by what the cluster says, against collecting it. An image that is not known matches nothing and
/// misses nothing.
fn by_cluster(
    select: &Select,
    info: &PodInfo,
    workload: &str,
    image: Option<&str>,
) -> Option<String> {
    let facts = |rules: &Rules| {
        let image = image.map_or(Hit::NotAsked, |image| hit(&rules.images, image));
        vec![
            ("workloads", hit_workload(&rules.workloads, workload)),
            ("images", image),
            ("labels", selected(&rules.labels, &info.labels)),
            (
                "annotations",
                selected(&rules.annotations, &info.annotations),
            ),
            (
                "namespace_labels",
                selected(&rules.namespace_labels, &info.namespace_labels),
            ),
        ]
    };
    against(facts(&select.exclude), facts(&select.include))
}

/// The excluding list that matches, or else the including one that does not.
fn against(exclude: Vec<(&str, Hit)>, include: Vec<(&str, Hit)>) -> Option<String> {
    for (list, hit) in exclude {
        if let Hit::By(item) = hit {
            return Some(format!("exclude.{list}: {item}"));
        }
    }
    let mut lists = include.into_iter();
    let (list, _) = lists.find(|(_, hit)| *hit == Hit::None)?;
    Some(format!("include.{list}: none of them matches"))
}

/// What came of comparing with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hit {
    /// The list is empty.
    NotAsked,
    /// None of its items matches.
    None,
    /// This one does.
    By(String),
}

fn first<'a, T: 'a>(
    items: &'a [T],
    matches: impl Fn(&T) -> bool,
    text: impl Fn(&'a T) -> &'a str,
) -> Hit {
    if items.is_empty() {
        return Hit::NotAsked;
    }
    let found = items.iter().find(|item| matches(item));
    found.map_or(Hit::None, |item| Hit::By(cut(text(item))))
}

fn hit(globs: &[Glob], name: &str) -> Hit {
    first(globs, |glob| glob.matches(name), Glob::as_str)
}

/// Kinds are compared without regard to case, as kubectl does.
fn hit_workload(globs: &[Glob], workload: &str) -> Hit {
    let matches = |glob: &Glob| {
        let (Some((kind, name)), Some((kind_glob, name_glob))) =
            (workload.split_once('/'), glob.as_str().split_once('/'))
        else {
            return false;
        };
        let part = |glob: &str, text: &str| Glob::new(glob).is_some_and(|glob| glob.matches(text));
        part(&kind_glob.to_ascii_lowercase(), &kind.to_ascii_lowercase()) && part(name_glob, name)
    };
    first(globs, matches, Glob::as_str)
}

fn selected(selectors: &[Selector], of: &std::collections::BTreeMap<String, String>) -> Hit {
    first(selectors, |selector| selector.matches(of), Selector::as_str)
}

fn workload_of(info: &PodInfo) -> String {
    match &info.workload {
        Some(workload) => format!("{}/{}", workload.kind, workload.name),
        None => format!("Pod/{}", info.name),
    }
}

/// The path says nothing against it, and the cluster has not answered.
fn without_metadata(select: &Select, chain: &ChainMeta) -> Verdict {
    let rules = select.include.need_metadata() || select.exclude.need_metadata();
    let annotations = !select.pod_annotations.is_empty();
    match chain.pod_state {
        // It has been waited for already, for as long as the first lines may be held back.
        PodState::Awaited
            if (rules || annotations) && select.metadata_missing == MetadataMissing::Include =>
        {
            missing(select, "nothing is known of the pod yet")
        }
        PodState::Awaited if rules => Verdict::wait("rules wait for what is known of the pod"),
        PodState::Awaited if annotations => {
            Verdict::wait("the pod's annotations are not known yet")
        }
        PodState::Missing if rules || annotations => missing(select, "nothing is known of the pod"),
        // Nobody is asked, so annotations mean nothing; rules cannot be ignored.
        PodState::Unasked if rules => missing(select, "nobody is asked about the pod"),
        _ => by_stream(select, &Wishes::default()),
    }
}

/// Something would have to be known that cannot be learned.
fn missing(select: &Select, why: &str) -> Verdict {
    let rule = format!(
        "metadata_missing: {}: {why}",
        select.metadata_missing.as_str()
    );
    match select.metadata_missing {
        MetadataMissing::Wait => Verdict::wait(&rule),
        MetadataMissing::Exclude => Verdict::exclude(rule, By::Rule),
        MetadataMissing::Include => Verdict {
            rule,
            ..by_stream(select, &Wishes::default())
        },
    }
}

/// Nothing speaks against the chain as a whole.
fn by_stream(select: &Select, wishes: &Wishes) -> Verdict {
    let taken = [select.streams.stdout, select.streams.stderr];
    let left_out = Stream::ALL.map(|stream| {
        let at = stream.index();
        match (taken.get(at), wishes.streams_excluded.get(at)) {
            (Some(false), _) => Some(By::Rule),
            (_, Some(true)) => Some(By::Annotation),
            _ => None,
        }
    });
    if let [Some(one), Some(other)] = left_out {
        let by = if one == other { one } else { By::Annotation };
        let rule = "streams: the pod's annotations exclude what the config leaves".to_owned();
        return Verdict::exclude(rule, by);
    }
    Verdict {
        decision: Decision::Collect,
        rule: String::new(),
        by: By::Rule,
        left_out,
    }
}

/// Enough of an item to know it by.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests;

//! How much is kept of what a pod's author may write as he likes: labels and annotations travel with every row.

use std::collections::BTreeMap;

/// Most bytes of a pod's labels, keys and values. A label has at most 380, most have 60: this is far more than anybody
/// has, and less than what a row can hold.
pub const LABELS_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a pod's annotations, of which the API server takes 256 KiB.
pub const ANNOTATIONS_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of one annotation: what is longer is a document and describes no log.
pub const ANNOTATION_BYTES_MAX: usize = 4 * 1024;

/// The annotation of `kubectl apply`: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations that say what to do with a pod's log begin with one of these: they are kept before all others.
pub const WISHES: [&str; 5] = [
    "longshore.dev/",
    "fluentbit.io/",
    "vector.dev/",
    "co.elastic.logs/",
    "ad.datadoghq.com/",
];

/// The labels that fit, and how many were cut.
pub fn labels(all: BTreeMap<String, String>) -> (BTreeMap<String, String>, u32) {
    fitting(all, LABELS_BYTES_MAX, LABELS_BYTES_MAX)
}

/// The annotations that fit, and how many were cut.
pub fn annotations(mut all: BTreeMap<String, String>) -> (BTreeMap<String, String>, u32) {
    all.remove(LAST_APPLIED);
    fitting(all, ANNOTATIONS_BYTES_MAX, ANNOTATION_BYTES_MAX)
}

/// In the order of their names, wishes first, so that the same are kept each time.
fn fitting(
    all: BTreeMap<String, String>,
    bytes_max: usize,
    each_max: usize,
) -> (BTreeMap<String, String>, u32) {
    let bytes = |(key, value): (&String, &String)| key.len() + value.len();
    let is_long = all.iter().any(|pair| bytes(pair) > each_max);
    if !is_long && all.iter().map(bytes).sum::<usize>() <= bytes_max {
        return (all, 0);
    }
    let is_wish = |key: &str| WISHES.iter().any(|wish| key.starts_with(wish));
    let (wishes, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| is_wish(key));
    let mut left = bytes_max;
    let mut cut = 0;
    let mut kept = BTreeMap::new();
    for (key, value) in wishes.into_iter().chain(others) {
        let bytes = key.len() + value.len();
        if bytes > left || bytes > each_max {
            cut += 1;
            continue;
        }
        left -= bytes;
        kept.insert(key, value);
    }
    (kept, cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wish_is_kept_before_what_sorts_before_it() {
        let mut all: BTreeMap<String, String> = (0..100)
            .map(|at| (format!("a{at}"), "x".repeat(1_000)))
            .collect();
        all.insert("longshore.dev/exclude".to_owned(), "true".to_owned());
        all.insert(LAST_APPLIED.to_owned(), "{}".to_owned());
        let (kept, cut) = annotations(all);
        assert_eq!(
            kept.get("longshore.dev/exclude").map(String::as_str),
            Some("true")
        );
        assert!(!kept.contains_key(LAST_APPLIED));
        assert_eq!(cut as usize, 101 - kept.len());
        assert!(cut > 0);
    }

    proptest! {
        /// What is kept fits, is unchanged, and together with what was cut it is all there was.
        #[test]
        fn what_is_kept_fits(all in prop::collection::btree_map(".{0,40}", ".{0,6000}", 0..12)) {
            let (kept, cut) = annotations(all.clone());
            let bytes: usize = kept.iter().map(|(key, value)| key.len() + value.len()).sum();
            prop_assert!(bytes <= ANNOTATIONS_BYTES_MAX);
            prop_assert_eq!(kept.len() + cut as usize, all.len());
            prop_assert!(kept.iter().all(|(key, value)| all.get(key) == Some(value)));
        }
    }
}

//! The labels of a series as they are sent: checked, completed, sorted.

/// Names and values, sorted by name, no name twice, no value empty.
pub type Labels = Vec<(String, String)>;

/// The label that holds the name of the metric.
pub const NAME: &str = "__name__";

/// Labels of one series; receivers have lower limits of their own.
pub const LABELS_MAX: usize = 64;
/// Bytes of one value; receivers have lower limits of their own.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Whether a label may have this name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Whether a metric may have this name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// The labels of the series `name` with its `own` labels and those `external` ones that it has not itself. A label
/// whose value is empty is the same as none (Prometheus data model) and left out. `None`: it cannot be sent.
pub fn labels<'a>(
    name: &str,
    own: impl Iterator<Item = (&'a str, &'a str)>,
    external: &[(String, String)],
) -> Option<Labels> {
    if !is_metric_name(name) {
        return None;
    }
    let mut labels: Labels = vec![(NAME.to_owned(), name.to_owned())];
    for (name, value) in own {
        if !is_label_name(name) || value.len() > VALUE_BYTES_MAX || labels.len() >= LABELS_MAX {
            return None;
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    let count = labels.len();
    for (name, value) in external {
        let is_own = labels
            .iter()
            .take(count)
            .any(|(known, value)| known == name && !value.is_empty());
        if !is_own {
            labels.push((name.clone(), value.clone()));
        }
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    let twice = labels
        .windows(2)
        .any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
    (!twice).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, own: &[(&str, &str)]) -> Option<String> {
        let external = [("job", "node"), ("Zone", "z")];
        let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let made = labels(name, own.iter().copied(), &external)?;
        let made: Vec<String> = made.iter().map(|(k, v)| format!("{k}={v}")).collect();
        Some(made.join(","))
    }

    #[test]
    fn labels_are_complete_and_sorted_by_bytes() {
        let whole = "Zone=z,__name__=up,a=1,b=2,job=node";
        assert_eq!(
            made("up", &[("b", "2"), ("a", "1")]).as_deref(),
            Some(whole)
        );
        let own = "Zone=z,__name__=up,job=mine";
        assert_eq!(
            made("up", &[("job", "mine"), ("x", "")]).as_deref(),
            Some(own)
        );
        let emptied = "Zone=z,__name__=up,job=node";
        assert_eq!(made("up", &[("job", "")]).as_deref(), Some(emptied));
    }

    #[test]
    fn what_no_receiver_takes_is_not_sent() {
        assert_eq!(made("1up", &[]), None);
        assert_eq!(made("", &[]), None);
        assert_eq!(made("up", &[("a-b", "1")]), None);
        assert_eq!(made("up", &[("", "1")]), None);
        assert_eq!(made("up", &[("a", "1"), ("a", "2")]), None);
        assert_eq!(made("up", &[("__name__", "down")]), None);
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert_eq!(made("up", &[("a", &long)]), None);
    }
}

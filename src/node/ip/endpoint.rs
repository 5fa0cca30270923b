//! What address managers say of themselves on the node, in the Prometheus text format.

use std::borrow::Cow;

use super::range::Family;
use super::{Counts, Source};

/// Gets the body of a page, in a short time or not at all.
pub trait Fetch: Send {
    /// The body at `url`, or why there is none. Called by the sampler, so it must not wait for long.
    fn get(&mut self, url: &str) -> Result<String, String>;
}

/// A page to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Who answers: [`Source::AzureCns`], [`Source::AwsCni`] or [`Source::Cilium`].
    pub source: Source,
    /// Where, on this node: `http://127.0.0.1:61678/metrics`.
    pub url: String,
}

/// More lines of a page are not looked at.
const LINES_MAX: usize = 100_000;

/// A line of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// The family's name.
    pub name: &'a str,
    /// Its labels.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// Its value.
    pub value: f64,
}

/// The samples of a page whose names begin with `head`.
pub fn lines<'a>(page: &'a str, head: &'a str) -> impl Iterator<Item = Line<'a>> {
    page.lines()
        .take(LINES_MAX)
        .filter(move |line| line.starts_with(head))
        .filter_map(line)
}

/// `name{label="value",...} value [timestamp]`
fn line(text: &str) -> Option<Line<'_>> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, mut rest) = text.split_at_checked(end)?;
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner.trim_start();
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.push((label.trim(), value));
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Line {
        name,
        labels,
        value,
    })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    let (value, rest) = text.split_at_checked(end)?;
    let value = if value.contains('\\') {
        let mut plain = String::new();
        let mut letters = value.chars();
        while let Some(letter) = letters.next() {
            plain.push(match letter {
                '\\' => match letters.next()? {
                    'n' => '\n',
                    other => other,
                },
                other => other,
            });
        }
        Cow::Owned(plain)
    } else {
        Cow::Borrowed(value)
    };
    Some((value, rest.strip_prefix('"')?))
}

/// The sum of a family, if it is there. An address manager has one sample for each network.
fn sum(page: &str, name: &str, is_wanted: impl Fn(&Line<'_>) -> bool) -> Option<f64> {
    let values = lines(page, name).filter(|line| line.name == name && is_wanted(line));
    values
        .map(|line| line.value)
        .reduce(|sum, value| sum + value)
}

/// What a page says of addresses of one family.
pub fn counts(source: Source, page: &str, family: Family) -> Counts {
    let plain = |name| {
        let of_family = family == Family::V4;
        of_family.then(|| sum(page, name, |_| true)).flatten()
    };
    match source {
        Source::AzureCns => Counts {
            capacity: plain("cx_ipam_max_ips"),
            allocated: plain("cx_ipam_total_ips"),
            assigned: plain("cx_ipam_pod_allocated_ips"),
            available: plain("cx_ipam_available_ips"),
        },
        Source::AwsCni => Counts {
            capacity: plain("awscni_ip_max"),
            allocated: plain("awscni_total_ip_addresses"),
            assigned: plain("awscni_assigned_ip_addresses"),
            available: None,
        },
        Source::Cilium => {
            let of = |name| {
                sum(page, name, |line| {
                    let mut labels = line.labels.iter();
                    labels.any(|(name, value)| *name == "family" && value == family.name())
                })
            };
            Counts {
                capacity: of("cilium_ipam_capacity"),
                allocated: None,
                assigned: of("cilium_ip_addresses"),
                available: None,
            }
        }
        _ => Counts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_manager_is_understood() {
        let azure = "# TYPE cx_ipam_max_ips gauge\ncx_ipam_max_ips{subnet=\"a\",customer_metric=\"customer metric\"} 250\ncx_ipam_total_ips{subnet=\"a\"} 32\ncx_ipam_pod_allocated_ips{subnet=\"a\"} 20\ncx_ipam_pod_allocated_ips{subnet=\"b\"} 1\ncx_ipam_available_ips{subnet=\"a\"} 12\n";
        let counts4 = |source, page| counts(source, page, Family::V4);
        let expected = Counts {
            capacity: Some(250.0),
            allocated: Some(32.0),
            assigned: Some(21.0),
            available: Some(12.0),
        };
        assert_eq!(counts4(Source::AzureCns, azure), expected);
        assert_eq!(
            counts(Source::AzureCns, azure, Family::V6),
            Counts::default()
        );
        let aws = "awscni_ip_max 58\nawscni_total_ip_addresses 30\nawscni_assigned_ip_addresses 12\nawscni_assigned_ip_addresses_extra 99\n";
        assert_eq!(counts4(Source::AwsCni, aws).assigned, Some(12.0));
        let cilium = "cilium_ipam_capacity{family=\"ipv4\"} 254\ncilium_ip_addresses{family=\"ipv4\"} 9\ncilium_ip_addresses{family=\"ipv6\"} 8\n";
        assert_eq!(counts4(Source::Cilium, cilium).assigned, Some(9.0));
        assert_eq!(
            counts(Source::Cilium, cilium, Family::V6).assigned,
            Some(8.0)
        );
    }

    proptest! {
        /// No page stops it.
        #[test]
        fn any_page_is_taken(page in "(cx_a|\\{|\\}|[a-z]=\"|\"|\\\\|,| |[0-9.]{1,3}|\n|.){0,24}") {
            let _ = lines(&page, "").count();
        }

        /// A line is taken apart into what it was made of.
        #[test]
        fn a_line_is_read_back(name in "cx_[a-z]{1,9}", value in "[^\\x00-\\x1f]{0,9}", number in -1e9..1e9_f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("{name}{{subnet=\"{escaped}\",x=\"y\"}} {number} 1700000000000\n");
            let read: Vec<Line<'_>> = lines(&text, "cx_").collect();
            prop_assert_eq!(read, vec![Line { name: &name, labels: vec![("subnet", value.into()), ("x", "y".into())], value: number }]);
        }
    }
}

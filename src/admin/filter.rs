//! The query of `/status`: which sinks and chains are asked for.

use crate::pipeline::board::ChainView;

/// Which part of the status is asked for; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    sink: Option<String>,
    namespace: Option<String>,
    pod: Option<String>,
    chain: Option<String>,
}

/// A query that means nothing here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "reading the query of /status: {0:?} is not a filter; use sink=, namespace=, pod= or chain= with a value"
)]
pub struct BadFilter(String);

impl Filter {
    /// Reads `sink=NAME&namespace=NAME&pod=NAME&chain=POD_UID/CONTAINER/RESTART`, each optional.
    pub fn parse(query: &str) -> Result<Filter, BadFilter> {
        let mut filter = Filter::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "sink" => &mut filter.sink,
                "namespace" => &mut filter.namespace,
                "pod" => &mut filter.pod,
                "chain" => &mut filter.chain,
                _ => return Err(BadFilter(name.chars().take(64).collect())),
            };
            if value.is_empty() {
                return Err(BadFilter(name.to_owned()));
            }
            *slot = Some(percent_decoded(value));
        }
        Ok(filter)
    }

    /// Whether the sink is asked for.
    pub fn wants_sink(&self, name: &str) -> bool {
        self.sink.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Whether the chain is asked for.
    pub fn wants(&self, chain: &ChainView) -> bool {
        let is =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|it| it == name);
        is(&self.namespace, &chain.meta.namespace)
            && is(&self.pod, &chain.meta.pod)
            && (self.chain.is_none() || is(&self.chain, &chain.meta.key.to_string()))
    }
}

/// Percent-encoding (RFC 3986, 2.1) undone; what is not of its form stands for itself.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_and_decoded() {
        let filter = Filter::parse("namespace=a%2Db&chain=uid/c%2F0&&pod=%zz%4").unwrap();
        assert_eq!(filter.namespace.as_deref(), Some("a-b"));
        assert_eq!(filter.chain.as_deref(), Some("uid/c/0"));
        assert_eq!(filter.pod.as_deref(), Some("%zz%4"));
        assert_eq!(Filter::parse(""), Ok(Filter::default()));
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        for query in ["nmespace=a", "pod", "pod=", "=x", "%00=1"] {
            assert!(Filter::parse(query).is_err(), "{query}");
        }
    }
}

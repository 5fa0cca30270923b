//! The query of `/explain`: which pod is asked for.

use serde::{Deserialize, Serialize};

use super::super::filter::percent_decoded;

/// Which pod, or which of its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Container name; `None`: all of them.
    pub container: Option<String>,
}

/// A query that asks for no pod.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "reading the query of /explain: say namespace= and pod=, and container= if one is meant, each with a value of at most {} bytes",
    Question::NAME_BYTES_MAX
)]
pub struct NoQuestion;

impl Question {
    /// Longer names are none: 253 is the longest of Kubernetes.
    pub const NAME_BYTES_MAX: usize = 253;

    /// Reads `namespace=NAME&pod=NAME&container=NAME`, the last one optional.
    pub fn parse(query: &str) -> Result<Question, NoQuestion> {
        let mut question = Question::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(NoQuestion)?;
            let value = Some(percent_decoded(value)).filter(|value| Question::is_name(value));
            let value = value.ok_or(NoQuestion)?;
            match name {
                "namespace" => question.namespace = value,
                "pod" => question.pod = value,
                "container" => question.container = Some(value),
                _ => return Err(NoQuestion),
            }
        }
        match question.namespace.is_empty() || question.pod.is_empty() {
            true => Err(NoQuestion),
            false => Ok(question),
        }
    }

    /// Whether something can be asked for by that name. What is not a name of Kubernetes names nothing, and may be
    /// asked for.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty() && text.len() <= Question::NAME_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_namespace_and_a_pod() {
        let question = Question::parse("pod=we%62&namespace=ns&container=a%2Fb").unwrap();
        assert_eq!(question.namespace, "ns");
        assert_eq!(question.pod, "web");
        assert_eq!(question.container.as_deref(), Some("a/b"));
        let long = format!("namespace=n&pod={}", "p".repeat(254));
        for query in [
            "",
            "namespace=a",
            "pod=a",
            "namespace=a&pod=",
            "namespace=a&pod=b&x=c",
            &long,
        ] {
            assert_eq!(Question::parse(query), Err(NoQuestion), "{query}");
        }
    }
}

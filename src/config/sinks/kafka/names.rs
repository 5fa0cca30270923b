//! Where brokers are, and where messages go.

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Reads `HOST:PORT`; an address of IPv6 is in brackets.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner
                .strip_suffix(']')
                .filter(|inner| inner.contains(':'))?,
            None => host,
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        let bracketed = text.starts_with('[');
        let plain = bracketed || !host.contains(':');
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        (plain && !host.is_empty() && host.bytes().all(legal)).then(|| Address {
            host: host.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where the messages of a chain go: a name, perhaps with the namespace in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    before: String,
    /// What is behind the namespace; `None`: the name is the same for all.
    after: Option<String>,
}

impl Topic {
    /// What stands for the namespace.
    pub const PLACEHOLDER: &'static str = "{namespace}";
    /// The longest name that brokers take.
    pub const BYTES_MAX: usize = 249;
    /// The longest namespace (a DNS label, RFC 1123).
    const NAMESPACE_BYTES_MAX: usize = 63;

    /// Takes a template apart; `None` if it is not the name of a topic (letters, digits, `.`, `_`, `-`) with at most
    /// one `{namespace}` in it.
    pub fn parse(template: &str) -> Option<Topic> {
        let (before, after) = match template.split_once(Topic::PLACEHOLDER) {
            Some((before, after)) => (before, Some(after)),
            None => (template, None),
        };
        let legal = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let namespace = after.map_or(0, |_| Topic::NAMESPACE_BYTES_MAX);
        let len = before.len() + after.map_or(0, str::len) + namespace;
        let fits = (1..=Topic::BYTES_MAX).contains(&len) && !matches!(template, "." | "..");
        (fits && legal(before) && after.is_none_or(legal)).then(|| Topic {
            before: before.to_owned(),
            after: after.map(str::to_owned),
        })
    }

    /// The topic of a namespace.
    pub fn of(&self, namespace: &str) -> String {
        match &self.after {
            None => self.before.clone(),
            Some(after) => format!("{}{namespace}{after}", self.before),
        }
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.before)?;
        match &self.after {
            None => Ok(()),
            Some(after) => write!(f, "{}{after}", Topic::PLACEHOLDER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_legal_name_with_at_most_one_namespace() {
        for template in ["logs", "a.b_c-D9", "logs-{namespace}", "{namespace}"] {
            let topic = Topic::parse(template).unwrap();
            assert_eq!(topic.to_string(), template);
            assert_eq!(topic.of("shop"), template.replace("{namespace}", "shop"));
        }
        let long = "x".repeat(250);
        for template in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "{pod}",
            "{namespace}{namespace}",
            &long,
        ] {
            assert_eq!(Topic::parse(template), None, "{template}");
        }
        // The longest namespace has to fit.
        assert!(Topic::parse(&format!("{}{{namespace}}", "x".repeat(186))).is_some());
        assert!(Topic::parse(&format!("{}{{namespace}}", "x".repeat(187))).is_none());
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, host, port) in [
            ("kafka-0.example:9093", "kafka-0.example", 9093),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:9092", "fd00::1", 9092),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "kafka",
            "kafka:",
            "kafka:0",
            "kafka:70000",
            ":9092",
            "a b:1",
            "https://kafka:9092",
            "fd00::1:9092",
            "[kafka]:1",
            "[fd00::1:9092",
            "user@kafka:9092",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}

//! What a broker's error codes mean for the records they are about.
//!
//! Facts: "Kafka protocol guide", section "Error Codes".

use std::time::Duration;

use crate::sink::{Item, Reason, Verdict};

/// The reason's code where credentials were not taken.
pub const AUTHENTICATION_FAILED: &str = "kafka_sasl_authentication_failed";

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Later, perhaps at another broker.
    Retry,
    /// The batch is too large, or some record in it is refused: by halves.
    Halve,
    /// For a person to mend.
    Pause,
}

/// Name (as the reason's code) and class of an error code other than 0.
pub fn error(code: i16) -> (&'static str, Class) {
    match code {
        2 => ("kafka_corrupt_message", Class::Retry),
        3 => ("kafka_unknown_topic_or_partition", Class::Pause),
        5 => ("kafka_leader_not_available", Class::Retry),
        6 => ("kafka_not_leader_or_follower", Class::Retry),
        7 => ("kafka_request_timed_out", Class::Retry),
        8 => ("kafka_broker_not_available", Class::Retry),
        9 => ("kafka_replica_not_available", Class::Retry),
        10 => ("kafka_message_too_large", Class::Halve),
        13 => ("kafka_network_exception", Class::Retry),
        17 => ("kafka_invalid_topic", Class::Pause),
        18 => ("kafka_record_list_too_large", Class::Halve),
        19 => ("kafka_not_enough_replicas", Class::Retry),
        20 => ("kafka_not_enough_replicas_after_append", Class::Retry),
        29 => ("kafka_topic_authorization_failed", Class::Pause),
        31 => ("kafka_cluster_authorization_failed", Class::Pause),
        32 => ("kafka_invalid_timestamp", Class::Halve),
        33 => ("kafka_unsupported_sasl_mechanism", Class::Pause),
        34 => ("kafka_illegal_sasl_state", Class::Pause),
        35 => ("kafka_unsupported_version", Class::Pause),
        43 => ("kafka_unsupported_for_message_format", Class::Pause),
        44 => ("kafka_policy_violation", Class::Pause),
        56 => ("kafka_storage_error", Class::Retry),
        58 => (AUTHENTICATION_FAILED, Class::Pause),
        74 => ("kafka_fenced_leader_epoch", Class::Retry),
        75 => ("kafka_unknown_leader_epoch", Class::Retry),
        76 => ("kafka_unsupported_compression_type", Class::Pause),
        87 => ("kafka_invalid_record", Class::Halve),
        89 => ("kafka_throttling_quota_exceeded", Class::Retry),
        _ => ("kafka_error", Class::Retry),
    }
}

/// Whether the leader of a partition has to be asked for again.
pub fn is_stale(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 8 | 9 | 13 | 56 | 74 | 75)
}

/// What keeps records from being stored, other than themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A person has to mend it.
    pub lasting: bool,
    /// The sink asked for so much time.
    pub after: Option<Duration>,
    /// What was attempted on what, and what came of it.
    pub reason: Reason,
}

impl Trouble {
    /// It may pass by itself.
    pub fn passing(code: &'static str, text: impl Into<String>) -> Trouble {
        Trouble {
            lasting: false,
            after: None,
            reason: Reason::new(code, text),
        }
    }

    /// A person has to mend it.
    pub fn lasting(code: &'static str, text: impl Into<String>) -> Trouble {
        Trouble {
            lasting: true,
            ..Trouble::passing(code, text)
        }
    }

    /// What a broker said of `what`. A batch that cannot be halved any more is not of this kind.
    pub fn of(code: i16, what: &str) -> Trouble {
        let (name, class) = error(code);
        Trouble {
            lasting: class == Class::Pause,
            ..Trouble::passing(name, format!("{what}: the broker answered error {code}"))
        }
    }
}

impl From<Trouble> for Verdict {
    fn from(trouble: Trouble) -> Verdict {
        match trouble.lasting {
            true => Verdict::Pause(trouble.reason),
            false => Verdict::Retry {
                after: trouble.after,
                reason: trouble.reason,
            },
        }
    }
}

/// The verdict over a payload of which these records were settled; what is not among them has met with `trouble`.
pub fn verdict(records: u32, settled: Vec<(u32, Item)>, trouble: Option<Trouble>) -> Verdict {
    let accepted = settled.iter().filter(|(_, item)| *item == Item::Accepted);
    if accepted.count() == records as usize {
        return Verdict::Accepted;
    }
    if settled.is_empty() {
        let unsaid = || Trouble::passing("kafka_error", "nothing was said about any record");
        return trouble.unwrap_or_else(unsaid).into();
    }
    if let Some(Trouble { reason, .. }) = trouble {
        tracing::debug!(code = reason.code, text = reason.text, "some records wait");
    }
    let mut items = vec![Item::Retry; records as usize];
    for (number, item) in settled {
        if let Some(place) = items.get_mut(number as usize) {
            *place = item;
        }
    }
    Verdict::Items(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_nothing_was_said_about_wait() {
        let trouble = || Some(Trouble::of(6, "producing to t/0"));
        let accepted = |number| (number, Item::Accepted);
        assert_eq!(
            verdict(2, vec![accepted(1), accepted(0)], None),
            Verdict::Accepted
        );
        assert_eq!(
            verdict(3, vec![accepted(1)], trouble()),
            Verdict::Items(vec![Item::Retry, Item::Accepted, Item::Retry])
        );
        let reason = Reason::new("r", "");
        let rejected = (1, Item::Rejected(reason.clone()));
        assert_eq!(
            verdict(2, vec![rejected, accepted(0)], None),
            Verdict::Items(vec![Item::Accepted, Item::Rejected(reason)])
        );
        assert!(matches!(
            verdict(2, Vec::new(), trouble()),
            Verdict::Retry { after: None, reason } if reason.code == "kafka_not_leader_or_follower"
        ));
        assert!(matches!(
            verdict(2, Vec::new(), Some(Trouble::of(29, "x"))),
            Verdict::Pause(reason) if reason.code == "kafka_topic_authorization_failed"
        ));
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_for_a_person() {
        for code in [5, 6, 7, 13, 19, 20, 89, -1, 12345] {
            assert_eq!(error(code).1, Class::Retry, "{code}");
        }
        for code in [10, 18, 32, 87] {
            assert_eq!(error(code).1, Class::Halve, "{code}");
        }
        for code in [3, 17, 29, 31, 33, 34, 58, 76] {
            assert_eq!(error(code).1, Class::Pause, "{code}");
        }
    }
}

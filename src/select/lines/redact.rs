//! What is hidden in messages: places are found in the message as it is, and masks of fixed length written over them.
//!
//! Invariants: no byte of a place that was found is in what is written; a message that is JSON stays JSON. In JSON only
//! what stands in strings, and numbers, are masked: what holds the document together is left.

mod cards;
mod detect;
mod values;
mod write;

use regex_automata::Input;
use regex_automata::meta::Regex;

use super::sieve::{Marks, Need};
use crate::config::lines::{Detector, MASKED_FACTOR_MAX, OwnRedaction};

/// Room for the masks of a short message.
const MASKED_BYTES_MORE: usize = 256;

/// Some bytes of a message that are to be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    start: usize,
    end: usize,
    /// Which redaction found it.
    by: usize,
}

/// What was hidden: per detector, and by own expressions in the last.
pub type Hidden = [u64; Detector::ALL.len() + 1];

/// The names of what [`Hidden`] counts, in its order.
pub fn names() -> [&'static str; Detector::ALL.len() + 1] {
    let mut names = ["own"; Detector::ALL.len() + 1];
    for (name, detector) in names.iter_mut().zip(Detector::ALL) {
        *name = detector.as_str();
    }
    names
}

/// What one redaction looks for.
#[derive(Debug)]
enum How {
    BuiltIn(Detector),
    /// With the number of the group that is hidden.
    Own(Regex, usize),
}

#[derive(Debug)]
struct Redaction {
    how: How,
    mask: Vec<u8>,
    mark: Marks,
}

/// The redactions of some chains.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    redactions: Vec<Redaction>,
}

/// Room to work in.
#[derive(Debug, Default)]
pub struct Room {
    places: Vec<Place>,
    /// The message with its masks.
    pub masked: Vec<u8>,
    /// What was hidden in it.
    pub hidden: Hidden,
}

impl Redactor {
    /// These redactions; their marks begin with `first`.
    pub(super) fn new(detectors: &[Detector], own: &[OwnRedaction], first: Marks) -> Redactor {
        let built_in = detectors.iter().map(|it| (How::BuiltIn(*it), it.as_str()));
        let own = own.iter().map(|it| {
            let regex = it.pattern.regex().clone();
            let group = usize::from(regex.captures_len() > 1);
            (How::Own(regex, group), it.name.as_str())
        });
        let all = built_in.chain(own).enumerate();
        let all = all.map(|(at, (how, name))| Redaction {
            how,
            mask: format!("[REDACTED:{name}]").into_bytes(),
            mark: first << at,
        });
        Redactor {
            redactions: all.collect(),
        }
    }

    /// What each needs to be in a message.
    pub(super) fn needs(&self, own: &[OwnRedaction]) -> Vec<(Marks, Need)> {
        let mut own = own.iter();
        let need = |redaction: &Redaction| match &redaction.how {
            How::BuiltIn(detector) => detect::need(*detector),
            How::Own(..) => {
                let literals = own.next().map(|it| it.pattern.as_str());
                match literals.and_then(super::required::required) {
                    Some(literals) => Need::Literals(literals),
                    None => Need::Nothing,
                }
            }
        };
        let mut need = need;
        let all = self.redactions.iter();
        all.map(|redaction| (redaction.mark, need(redaction)))
            .collect()
    }

    /// The marks of all of them.
    pub(super) fn marks(&self) -> Marks {
        self.redactions.iter().fold(0, |all, it| all | it.mark)
    }

    /// Hides what those with `marks` find. `is_cut`: the message's end is missing, so what begins at its end may be the
    /// beginning of a secret. Returns whether there was anything; then the message is in `room.masked`.
    pub(super) fn redact(
        &self,
        message: &[u8],
        marks: Marks,
        is_cut: bool,
        room: &mut Room,
    ) -> bool {
        room.places.clear();
        room.hidden = Hidden::default();
        let is_json = write::is_json(message);
        let text = detect::Text {
            message,
            is_cut,
            is_json,
        };
        for (by, redaction) in self.redactions.iter().enumerate() {
            if redaction.mark & marks == 0 {
                continue;
            }
            let mut add = |start: usize, end: usize| {
                if start < end {
                    room.places.push(Place { start, end, by });
                }
            };
            match &redaction.how {
                How::BuiltIn(detector) => detect::find(*detector, &text, &mut add),
                How::Own(regex, group) => find_own(regex, *group, message, &mut add),
            }
        }
        if room.places.is_empty() {
            return false;
        }
        for place in &room.places {
            let at = match self.redactions.get(place.by).map(|it| &it.how) {
                Some(How::BuiltIn(detector)) => *detector as usize,
                _ => Detector::ALL.len(),
            };
            if let Some(count) = room.hidden.get_mut(at) {
                *count += 1;
            }
        }
        write::join(&mut room.places, message);
        let mask = |by: usize| {
            self.redactions
                .get(by)
                .map_or(&b"***"[..], |it| it.mask.as_slice())
        };
        room.masked.clear();
        let bytes_max = MASKED_FACTOR_MAX * message.len() + MASKED_BYTES_MORE;
        let fits = if is_json {
            write::json(message, &room.places, mask, bytes_max, &mut room.masked)
        } else {
            write::text(message, &room.places, mask, bytes_max, &mut room.masked)
        };
        if !fits {
            room.masked.clear();
            let first = room.places.first().map_or(0, |place| place.by);
            let quote: &[u8] = if is_json { b"\"" } else { b"" };
            room.masked.extend_from_slice(quote);
            room.masked.extend_from_slice(mask(first));
            room.masked.extend_from_slice(quote);
        }
        true
    }
}

fn find_own(regex: &Regex, group: usize, message: &[u8], add: &mut dyn FnMut(usize, usize)) {
    if group == 0 {
        for found in regex.find_iter(message) {
            add(found.start(), found.end());
        }
        return;
    }
    let input = Input::new(message);
    for captures in regex.captures_iter(input) {
        // Of several alternatives with a group each, the one that was there.
        let groups = (group..captures.group_len()).find_map(|group| captures.get_group(group));
        if let Some(hidden) = groups.or_else(|| captures.get_match().map(|it| it.span())) {
            add(hidden.start, hidden.end);
        }
    }
}

#[cfg(test)]
mod tests;

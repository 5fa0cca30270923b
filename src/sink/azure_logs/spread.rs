//! Which of several rules the next call goes to: the one with the fewest calls under way, in turn among equals.
//!
//! Pure: no I/O, no clock of its own.

use std::time::Duration;

use crate::clock::Time;

/// How long a rule rests that is asked for too much and does not say for how long.
pub const REST_ASKED: Duration = Duration::from_secs(5);

/// How long a rule that refuses is left alone while there are others.
pub const REST_REFUSED: Duration = Duration::from_secs(60);

/// Why a rule gets no calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It asked for it.
    Asked,
    /// It takes nothing from us: the role is missing, or there is no such rule.
    Refused,
}

#[derive(Clone, Debug, Default)]
struct Rule {
    under_way: usize,
    rest: Option<(Rest, Time)>,
    /// It has refused and taken nothing since.
    said: bool,
}

/// What is known of each rule.
#[derive(Debug)]
pub struct Spread {
    rules: Vec<Rule>,
    /// Where the search for the next begins.
    next: usize,
}

impl Spread {
    /// That many rules.
    pub fn new(rules: usize) -> Spread {
        Spread {
            rules: vec![Rule::default(); rules],
            next: 0,
        }
    }

    /// The rule for a call at `now`, counted as under way; or how long to wait for one. If none rests because it asked
    /// for it, one that refuses is tried: somebody may have mended it.
    pub fn take(&mut self, now: Time) -> Result<usize, Duration> {
        let count = self.rules.len();
        let order = (0..count).map(|step| (self.next + step) % count.max(1));
        let rests = |at: &usize| {
            let rule = self.rules.get(*at);
            rule.is_none_or(|rule| rule.rest.is_some_and(|(_, until)| until > now))
        };
        let load = |at: &usize| self.rules.get(*at).map_or(0, |rule| rule.under_way);
        let chosen = order.filter(|at| !rests(at)).min_by_key(load);
        let chosen = match (chosen, self.wait(now)) {
            (Some(at), _) => at,
            (None, Some(wait)) => return Err(wait),
            (None, None) => {
                let until = |at: &usize| self.rules.get(*at).and_then(|rule| rule.rest);
                let until = |at: &usize| until(at).map(|(_, until)| until);
                (0..count).min_by_key(until).ok_or(REST_REFUSED)?
            }
        };
        self.next = chosen + 1;
        if let Some(rule) = self.rules.get_mut(chosen) {
            rule.under_way += 1;
        }
        Ok(chosen)
    }

    /// The call to a rule has ended.
    pub fn put_back(&mut self, at: usize) {
        if let Some(rule) = self.rules.get_mut(at) {
            rule.under_way = rule.under_way.saturating_sub(1);
        }
    }

    /// A rule gets no calls for a while; says whether that is news.
    pub fn rest(&mut self, at: usize, rest: Rest, after: Option<Duration>, now: Time) -> bool {
        let Some(rule) = self.rules.get_mut(at) else {
            return false;
        };
        let wait = match rest {
            Rest::Asked => after.unwrap_or(REST_ASKED),
            Rest::Refused => REST_REFUSED,
        };
        rule.rest = Some((rest, now + wait));
        rest == Rest::Refused && !std::mem::replace(&mut rule.said, true)
    }

    /// A rule took something.
    pub fn good(&mut self, at: usize) {
        if let Some(rule) = self.rules.get_mut(at) {
            rule.said = false;
            // What it asked for while this call was under way still holds.
            rule.rest = rule.rest.filter(|(rest, _)| *rest == Rest::Asked);
        }
    }

    /// How long until a rule that asked to be left alone may be asked again; `None` if there is none such that rests.
    pub fn wait(&self, now: Time) -> Option<Duration> {
        let asked = self.rules.iter().filter_map(|rule| match rule.rest {
            Some((Rest::Asked, until)) if until > now => Some(until.since(now)),
            _ => None,
        });
        asked.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(1_000);

    /// Takes one and puts it back at once.
    fn taken(spread: &mut Spread, now: Time) -> Result<usize, Duration> {
        let at = spread.take(now)?;
        spread.put_back(at);
        Ok(at)
    }

    #[test]
    fn calls_go_round_and_to_the_one_with_the_fewest_under_way() {
        let mut spread = Spread::new(3);
        let round: Vec<_> = (0..6).map(|_| taken(&mut spread, NOW).unwrap()).collect();
        assert_eq!(round, [0, 1, 2, 0, 1, 2]);
        assert_eq!(spread.take(NOW), Ok(0));
        assert_eq!(spread.take(NOW), Ok(1));
        spread.put_back(0);
        assert_eq!(spread.take(NOW), Ok(2));
        assert_eq!(spread.take(NOW), Ok(0));
        assert_eq!(Spread::new(1).take(NOW), Ok(0));
        assert!(Spread::new(0).take(NOW).is_err());
    }

    #[test]
    fn one_that_asked_is_left_alone_until_then() {
        let mut spread = Spread::new(2);
        let second = Duration::from_secs(1);
        spread.rest(0, Rest::Asked, Some(second), NOW);
        for _ in 0..3 {
            assert_eq!(taken(&mut spread, NOW), Ok(1));
        }
        spread.rest(1, Rest::Asked, None, NOW);
        assert_eq!(spread.take(NOW), Err(second));
        assert_eq!(taken(&mut spread, NOW + second), Ok(0));
        // An answer to an older call does not end the rest.
        spread.good(1);
        assert_eq!(taken(&mut spread, NOW + second), Ok(0));
        assert_eq!(spread.take(NOW + REST_ASKED), Ok(1));
    }

    #[test]
    fn one_that_refuses_is_tried_when_no_other_is_left() {
        let mut spread = Spread::new(2);
        assert!(spread.rest(0, Rest::Refused, None, NOW));
        assert!(!spread.rest(0, Rest::Refused, None, NOW), "said already");
        assert_eq!(taken(&mut spread, NOW), Ok(1));
        assert_eq!(taken(&mut spread, NOW), Ok(1));
        spread.rest(1, Rest::Refused, None, NOW + Duration::from_secs(1));
        assert_eq!(taken(&mut spread, NOW), Ok(0));
        spread.good(0);
        assert!(spread.rest(0, Rest::Refused, None, NOW), "news again");
        // One that only waits comes before one that refuses.
        spread.rest(1, Rest::Asked, None, NOW);
        assert_eq!(spread.take(NOW), Err(REST_ASKED));
    }
}

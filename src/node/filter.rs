//! Which devices and mounts are left out: an expression of the config, asked once for each name.

use std::collections::HashMap;

use crate::config::pattern::Pattern;

/// Most names whose answer is kept; a node with more asks again.
const NAMES_MAX: usize = 4_096;

/// A pattern that remembers its answers: the same names come with every sample.
pub struct Filter {
    pattern: Pattern,
    answers: HashMap<String, bool>,
}

impl Filter {
    /// Of a pattern.
    pub fn new(pattern: &Pattern) -> Filter {
        Filter {
            pattern: pattern.clone(),
            answers: HashMap::new(),
        }
    }

    /// Whether the pattern matches a name.
    pub fn matches(&mut self, name: &str) -> bool {
        if let Some(answer) = self.answers.get(name) {
            return *answer;
        }
        if self.answers.len() >= NAMES_MAX {
            self.answers.clear();
        }
        let answer = self.pattern.matches(name);
        self.answers.insert(name.to_owned(), answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_pattern_and_bounded() {
        let mut filter = Filter::new(&Pattern::part("^a").unwrap());
        for _ in 0..2 {
            assert!(filter.matches("ab") && !filter.matches("ba"));
        }
        for number in 0..2 * NAMES_MAX {
            filter.matches(&number.to_string());
        }
        assert!(filter.answers.len() <= NAMES_MAX);
    }
}

//! From what a config, or a pod, says of lines that belong together to the grammar that reads them.

use std::sync::Arc;
use std::time::Duration;

use crate::config::multiline::{Multiline, MultilineMode, OwnPatterns};
use crate::config::pattern::Pattern;
use crate::tail::multiline::{Grammar, Grouping, Language, Languages, Own};

/// How lines are grouped; `wish` goes before the config's mode, within the config's bounds. `None`: they are not.
pub fn grouping(config: &Multiline, wish: Option<&MultilineMode>) -> Option<Arc<Grouping>> {
    let grammar = match wish.unwrap_or(&config.mode) {
        MultilineMode::None => return None,
        MultilineMode::Auto => Grammar::Languages(Languages::all()),
        MultilineMode::Languages(names) => {
            let languages = names.iter().filter_map(|name| Language::named(name));
            Grammar::Languages(Languages::of(&languages.collect::<Vec<_>>()))
        }
        MultilineMode::Own(patterns) => Grammar::Own(own(patterns)),
    };
    Some(Arc::new(Grouping {
        grammar,
        lines_max: config.lines_max,
        timeout: Duration::from_millis(config.timeout_ms),
    }))
}

fn own(patterns: &OwnPatterns) -> Own {
    let compiled = |pattern: &Option<Pattern>| pattern.as_ref().map(|it| it.compiled().clone());
    Own {
        start: compiled(&patterns.start),
        continues: compiled(&patterns.continues),
        end: compiled(&patterns.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::multiline::LANGUAGES;

    #[test]
    fn every_language_of_the_config_has_a_grammar() {
        assert_eq!(Language::ALL.map(Language::name), LANGUAGES);
    }

    #[test]
    fn a_wish_goes_before_the_config_within_its_bounds() {
        let config = Multiline {
            lines_max: 7,
            ..Multiline::default()
        };
        assert_eq!(grouping(&config, None), None);
        let wish = MultilineMode::named("java, go").unwrap();
        let wished = grouping(&config, Some(&wish)).unwrap();
        let languages = Languages::of(&[Language::Go, Language::Java]);
        assert_eq!(wished.grammar, Grammar::Languages(languages));
        assert_eq!(wished.lines_max, 7);
        let config = Multiline {
            mode: MultilineMode::Auto,
            ..config
        };
        assert!(grouping(&config, None).is_some());
        assert_eq!(grouping(&config, Some(&MultilineMode::None)), None);
    }
}

//! Profiles of a whole configuration, by what is collected and what it costs: each is a set of defaults.
//!
//! Invariant: a preset only says what a key is that nobody gave; any key that is given wins. All of it stands in one
//! table, [`Preset::defaults`].

use super::Config;
use super::glob::Glob;
use super::metrics::Profile;

/// A profile of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Logs, and all metrics that are not dear, once a minute.
    Standard,
    /// Logs, and the metrics that dashboards need, every five minutes.
    CostOptimized,
    /// Logs alone.
    LogsAndEvents,
}

/// What a preset sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `metrics.enabled`.
    pub metrics_enabled: bool,
    /// `metrics.interval_ms`.
    pub metrics_interval_ms: u64,
    /// `metrics.profile`.
    pub metrics_profile: Profile,
    /// `logs.select.exclude.namespaces`.
    pub excluded_namespaces: &'static [&'static str],
}

/// Those of the cluster itself.
const SYSTEM: &[&str] = &["kube-system", "gatekeeper-system", "azure-arc"];

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 3] = [
        Preset::Standard,
        Preset::CostOptimized,
        Preset::LogsAndEvents,
    ];

    /// What the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Standard => "standard",
            Preset::CostOptimized => "cost-optimized",
            Preset::LogsAndEvents => "logs-and-events",
        }
    }

    /// What it sets. Intervals are those of Container Insights' presets of these names.
    pub fn defaults(self) -> Defaults {
        match self {
            Preset::Standard => Defaults {
                metrics_enabled: true,
                metrics_interval_ms: 60_000,
                metrics_profile: Profile::Standard,
                excluded_namespaces: &[],
            },
            Preset::CostOptimized => Defaults {
                metrics_enabled: true,
                metrics_interval_ms: 300_000,
                metrics_profile: Profile::Minimal,
                excluded_namespaces: SYSTEM,
            },
            Preset::LogsAndEvents => Defaults {
                metrics_enabled: false,
                metrics_interval_ms: 60_000,
                metrics_profile: Profile::Minimal,
                excluded_namespaces: &[],
            },
        }
    }

    /// Sets the defaults; to be called before any key is read.
    pub fn apply(self, config: &mut Config) {
        let Defaults {
            metrics_enabled,
            metrics_interval_ms,
            metrics_profile,
            excluded_namespaces,
        } = self.defaults();
        config.preset = Some(self);
        config.metrics.enabled = metrics_enabled;
        config.metrics.interval_ms = metrics_interval_ms;
        config.metrics.profile = metrics_profile;
        let globs = excluded_namespaces
            .iter()
            .filter_map(|name| Glob::new(name));
        config.logs.select.exclude.namespaces = globs.collect();
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::parse::parse;
    use crate::config::render::render;

    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("{text}\nsinks: {{a: {{type: blackhole}}}}\n");
        parse(&text, "f", &|_| None, "node").unwrap()
    }

    /// All but the namespaces, which are named by whoever asks.
    fn found(config: &Config, excluded_namespaces: &'static [&'static str]) -> Defaults {
        let namespaces = &config.logs.select.exclude.namespaces;
        let namespaces: Vec<&str> = namespaces.iter().map(Glob::as_str).collect();
        assert_eq!(namespaces, excluded_namespaces);
        Defaults {
            excluded_namespaces,
            metrics_enabled: config.metrics.enabled,
            metrics_interval_ms: config.metrics.interval_ms,
            metrics_profile: config.metrics.profile,
        }
    }

    #[test]
    fn a_preset_sets_what_is_not_given() {
        for preset in Preset::ALL {
            let config = config(&format!("preset: {}", preset.name()));
            let wanted = preset.defaults();
            let namespaces = wanted.excluded_namespaces;
            assert_eq!(found(&config, namespaces), wanted, "{preset:?}");
            assert_eq!(config.preset, Some(preset));
        }
    }

    /// Wherever a key stands, before the preset or behind it.
    #[test]
    fn a_key_that_is_given_wins() {
        let own = "metrics: {enabled: true, interval_ms: 7000, profile: full}\nlogs: {select: {exclude: {namespaces: [own]}}}";
        let wanted = Defaults {
            metrics_enabled: true,
            metrics_interval_ms: 7_000,
            metrics_profile: Profile::Full,
            excluded_namespaces: &["own"],
        };
        for preset in Preset::ALL {
            let name = preset.name();
            for text in [
                format!("{own}\npreset: {name}"),
                format!("preset: {name}\n{own}"),
            ] {
                assert_eq!(found(&config(&text), &["own"]), wanted, "{text}");
            }
        }
        let one = config("preset: cost-optimized\nmetrics: {profile: full}");
        assert_eq!(one.metrics.interval_ms, 300_000);
        assert_eq!(one.metrics.profile, Profile::Full);
    }

    #[test]
    fn null_is_no_preset_and_another_word_is_a_mistake() {
        assert_eq!(config("preset: null"), config(""));
        let text = "preset: cheap\nsinks: {a: {type: blackhole}}\n";
        let mistakes = parse(text, "f", &|_| None, "node").unwrap_err();
        let mistake = mistakes[0].to_string();
        assert!(
            mistake.contains("preset: found \"cheap\"; allowed is standard, cost-optimized"),
            "{mistake}"
        );
    }

    #[test]
    fn the_effective_values_are_rendered_and_read_again() {
        for preset in Preset::ALL {
            let config = config(&format!("preset: {}", preset.name()));
            let text = render(&config);
            let interval = format!("interval_ms: {}", preset.defaults().metrics_interval_ms);
            assert!(text.contains(&interval), "{text}");
            assert_eq!(parse(&text, "f", &|_| None, "node").unwrap(), config);
        }
    }
}

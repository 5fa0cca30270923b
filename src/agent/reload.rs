//! A new configuration for a running agent: whole sinks are replaced, the others do not notice.
//!
//! Invariant: a sink that ends has made its cursors durable before its successor of the same name reads them, and the
//! catalog holds what neither has settled. If a successor cannot be made its predecessor runs again.

use std::time::Duration;

use thiserror::Error;

use super::sinks::{Made, Maker, Running};
use super::{Agent, StartError, descriptors, flush_interval, inboxes, measures, wanted};
use crate::catalog::change::Change;
use crate::config::{Config, Logs, Sink};
use crate::pipeline::drain::After;

/// Why the configuration is not in force; the one before is.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// It differs in what is only read at start.
    #[error("{} changed, which only a restart of the agent can apply", .0.join(" and "))]
    NeedsRestart(Vec<&'static str>),
    /// Something of it could not be started.
    #[error("{0}")]
    Start(#[from] StartError),
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Sinks that run now and did not before.
    pub added: Vec<String>,
    /// Sinks that run no more.
    pub removed: Vec<String>,
    /// Sinks that run by another configuration.
    pub replaced: Vec<String>,
    /// Whether all that the ended sinks had read was settled; otherwise their successors send some of it again.
    pub drained: bool,
}

/// A sink that has ended.
struct Ended {
    sink: Sink,
    slot: Option<usize>,
}

impl Agent {
    /// Applies another configuration. On an error the one before stays in force.
    pub fn reload(&mut self, config: &Config) -> Result<Reloaded, ReloadError> {
        let fixed = fixed_changes(&self.config, config);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        let (ended, drained) = self.end_changed(config);
        let fitted = descriptors::fitted(config);
        let (made, failed) = self.make_missing(&fitted, &ended);
        if let Some(error) = failed {
            self.give_back(made);
            self.restore(&ended);
            return Err(error.into());
        }
        let reloaded = told(&ended, &made, drained);
        let begun = self.begin(made, &ended, config);
        let measures_anew = self.config.metrics != config.metrics;
        self.config = config.clone();
        let measured = match measures_anew {
            true => self.measure_anew(&fitted),
            false => Ok(()),
        };
        self.show();
        begun.and(measured)?;
        self.configured.apply(self.clock.now());
        Ok(reloaded)
    }

    /// Ends every sink that the configuration does not have, or not so. Whether all they had read was settled.
    fn end_changed(&mut self, config: &Config) -> (Vec<Ended>, bool) {
        let renamed = self.config.cluster_name != config.cluster_name;
        let stays = |sink: &Running| !renamed && config.sinks.contains(&sink.sink);
        let (staying, ending): (Vec<Running>, Vec<Running>) = self.sinks.drain(..).partition(stays);
        self.sinks = staying;
        let until = self.clock.now() + Duration::from_millis(config.reload_grace_ms);
        for sink in &ending {
            sink.drain(until, After::Reload);
        }
        let mut drained = true;
        let mut ended = Vec::new();
        for sink in ending {
            self.places.give_back(sink.slot, &sink.feeds);
            ended.push(Ended {
                sink: sink.sink.clone(),
                slot: sink.slot,
            });
            drained &= sink.join();
        }
        (ended, drained)
    }

    /// Makes what the configuration has and does not run, as far as that can be done.
    fn make_missing(
        &mut self,
        config: &Config,
        ended: &[Ended],
    ) -> (Vec<Made>, Option<StartError>) {
        let maker = Maker {
            config,
            clock: &self.clock,
            files: &self.files,
            network: self.network.handle(),
            in_pod: self.in_pod,
        };
        let runs = |sink: &Sink| self.sinks.iter().any(|it| it.sink.name == sink.name);
        let slot_of = |sink: &Sink| {
            let before = ended.iter().find(|ended| ended.sink.name == sink.name);
            before.and_then(|ended| ended.slot)
        };
        let missing = config.sinks.iter().filter(|sink| !runs(sink));
        let mut missing: Vec<&Sink> = missing.collect();
        // Those with a slot of their own first, or another might take it.
        missing.sort_by_key(|sink| slot_of(sink).is_none());
        let mut made = Vec::new();
        let mut failed = None;
        for sink in missing {
            match maker.make(sink, slot_of(sink), &mut self.places) {
                Ok(sink) => made.push(sink),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        (made, failed)
    }

    fn give_back(&mut self, made: Vec<Made>) {
        for made in made {
            self.places.give_back(made.slot, &made.feeds);
        }
    }

    /// Starts what was made, and tells the catalog.
    fn begin(
        &mut self,
        made: Vec<Made>,
        ended: &[Ended],
        config: &Config,
    ) -> Result<(), StartError> {
        let mut feeds = Vec::new();
        let mut result = Ok(());
        for made in made {
            let (slot, its_feeds) = (made.slot, made.feeds.clone());
            match made.start(&self.clock) {
                Ok(running) => {
                    self.sinks.push(running);
                    feeds.extend(its_feeds);
                }
                Err(error) => {
                    self.places.give_back(slot, &its_feeds);
                    result = Err(error);
                }
            }
        }
        let place = |sink: &Running| config.sinks.iter().position(|it| it.name == sink.sink.name);
        self.sinks.sort_by_key(place);
        self.changes.push(Change {
            ended: ended.iter().filter_map(|ended| ended.slot).collect(),
            feeds,
            flush_interval: flush_interval(config),
            wanted: Some(wanted(config)),
        });
        self.catalog.wake();
        self.outlets.set(inboxes(&self.sinks));
        result
    }

    /// Lets the sinks that have ended run again as before.
    fn restore(&mut self, ended: &[Ended]) {
        let config = self.config.clone();
        let (made, failed) = self.make_missing(&descriptors::fitted(&config), ended);
        let begun = self.begin(made, ended, &config);
        for error in failed.into_iter().chain(begun.err()) {
            tracing::error!(%error, "a sink could not be started again; restart the agent");
        }
        self.show();
    }

    /// Begins to sample by another configuration.
    fn measure_anew(&mut self, fitted: &Config) -> Result<(), StartError> {
        drop(self.sampler.take());
        let network = self.network.handle();
        let pods = self.cluster.as_ref().map(|cluster| &cluster.pods);
        self.sampler = measures::start(fitted, pods, &self.outlets, network, &self.clock)?;
        Ok(())
    }

    /// Shows on the pages what runs now.
    fn show(&self) {
        if let Some(pages) = &self.pages {
            let sources = self.sources(pages.own_log.clone());
            pages.sources.store(sources.into());
        }
    }
}

fn told(ended: &[Ended], made: &[Made], drained: bool) -> Reloaded {
    let before: Vec<&String> = ended.iter().map(|ended| &ended.sink.name).collect();
    let after: Vec<&String> = made.iter().map(|made| &made.sink.name).collect();
    let pick = |from: &[&String], wanted: &dyn Fn(&&String) -> bool| -> Vec<String> {
        let picked = from.iter().filter(|name| wanted(name));
        picked.map(|name| (*name).clone()).collect()
    };
    Reloaded {
        added: pick(&after, &|name| !before.contains(name)),
        removed: pick(&before, &|name| !after.contains(name)),
        replaced: pick(&after, &|name| before.contains(name)),
        drained,
    }
}

/// What differs and is only read at start.
fn fixed_changes(before: &Config, after: &Config) -> Vec<&'static str> {
    // Taken apart in full: a new key does not compile until it is known whether it is fixed.
    let Config {
        node,
        cluster_name: _,
        // Its part in other keys is in those.
        preset: _,
        state_dir,
        shutdown_grace_ms: _,
        reload_grace_ms: _,
        logs,
        kubernetes,
        metrics: _,
        admin,
        own_log,
        sinks: _,
    } = after;
    let fixed = [
        ("node", *node != before.node),
        ("state_dir", *state_dir != before.state_dir),
        ("logs", of_catalog(logs) != of_catalog(&before.logs)),
        ("kubernetes", *kubernetes != before.kubernetes),
        ("admin", *admin != before.admin),
        ("own_log", *own_log != before.own_log),
    ];
    let changed = fixed.iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| *name).collect()
}

/// What of `logs` is the catalog's; the rest are defaults of sinks.
fn of_catalog(logs: &Logs) -> Logs {
    let defaults = Logs::default();
    Logs {
        multiline: defaults.multiline,
        select: defaults.select,
        lines: defaults.lines,
        ..logs.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    fn config(text: &str) -> Config {
        let text = format!("{text}\nsinks: {{a: {{type: blackhole}}}}\n");
        parse(&text, "f", &|_| None, "node-1").unwrap()
    }

    #[test]
    fn what_is_only_read_at_start_is_named() {
        let before = config("{}".trim_matches(['{', '}']));
        let same = config("shutdown_grace_ms: 1\ncluster_name: c\nmetrics: {interval_ms: 5000}");
        assert_eq!(fixed_changes(&before, &same), Vec::<&str>::new());
        let other = config(
            "state_dir: /other\nadmin: {listen: \"127.0.0.1:1\"}\nlogs: {poll_idle_ms: 900}",
        );
        let fixed = fixed_changes(&before, &other);
        assert_eq!(fixed, ["state_dir", "logs", "admin"]);
        let text = ReloadError::NeedsRestart(fixed).to_string();
        assert!(
            text.starts_with("state_dir and logs and admin changed"),
            "{text}"
        );
    }
}

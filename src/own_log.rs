//! The agent's own log: `tracing` events as lines on stderr, as text or JSON.
//!
//! Invariants: a message that repeats without end costs at most [`RateLimit::SHOWN_MAX`] lines and one summary
//! per window, so a failing sink cannot make the agent a noisy neighbour; and one event is one line, whatever
//! its values contain, so a pod's name or a server's answer cannot forge a line or drive a terminal.

pub mod limit;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use self::limit::{RateLimit, Summary};
use crate::clock::Clock;
use crate::config::OwnLog;

/// The process has an own log already.
#[derive(Debug, thiserror::Error)]
#[error("setting up the agent's own log: this process has one already; set it up once, at start")]
pub struct AlreadySet(#[source] tracing::subscriber::SetGlobalDefaultError);

/// The own log once it is set up.
pub struct Handle {
    /// The limiter, for its count.
    pub limit: Arc<RateLimit>,
    stamp: Stamp,
    json: bool,
}

impl Handle {
    /// Writes what is still to be said about suppressed events: call it last.
    pub fn finish(&self) {
        let mut text = String::new();
        for summary in self.limit.all() {
            if write_summary(&mut Writer::new(&mut text), summary, &self.stamp, self.json).is_err()
            {
                return;
            }
        }
        // Nobody is left to be told when stderr does not take it.
        let _unwritten: io::Result<()> = io::Write::write_all(&mut io::stderr(), text.as_bytes());
    }
}

/// Sends the process's `tracing` events to stderr. Dependencies are heard from `WARN` up only.
pub fn init(config: OwnLog, clock: Arc<dyn Clock>) -> Result<Handle, AlreadySet> {
    let limit = Arc::new(RateLimit::new(Arc::clone(&clock)));
    let layer = layer(config, Arc::clone(&clock), Arc::clone(&limit), io::stderr);
    tracing::subscriber::set_global_default(Registry::default().with(layer)).map_err(AlreadySet)?;
    Ok(Handle {
        limit,
        stamp: Stamp(clock),
        json: config.json,
    })
}

/// What [`init`] sets up, writing to a place of the caller's choice.
pub fn layer<W>(
    config: OwnLog,
    clock: Arc<dyn Clock>,
    limit: Arc<RateLimit>,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let stamp = Stamp(clock);
    let format = Format::default().with_timer(stamp.clone()).with_ansi(false);
    let targets = Targets::new()
        .with_default(config.level.min(Level::WARN))
        .with_target(env!("CARGO_PKG_NAME"), config.level);
    // A failed write must not be reported with eprintln!, which panics when stderr is closed.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false);
    if config.json {
        let format = Lines {
            inner: format.json(),
            limit,
            stamp,
            json: true,
        };
        let lines = lines.fmt_fields(JsonFields::new());
        lines.event_format(format).with_filter(targets).boxed()
    } else {
        let format = Lines {
            inner: format,
            limit,
            stamp,
            json: false,
        };
        lines.event_format(format).with_filter(targets).boxed()
    }
}

/// The formatter around the formatter: limits, then escapes.
struct Lines<F> {
    inner: F,
    limit: Arc<RateLimit>,
    stamp: Stamp,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        for summary in self.limit.due() {
            write_summary(&mut writer, summary, &self.stamp, self.json)?;
        }
        if !self.limit.admit(event.metadata()) {
            return Ok(());
        }
        let mut line = String::new();
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        write_escaped(&mut writer, line.trim_end_matches('\n'), self.json)?;
        writer.write_char('\n')
    }
}

fn write_summary(
    writer: &mut Writer<'_>,
    summary: Summary,
    stamp: &Stamp,
    json: bool,
) -> fmt::Result {
    let metadata = summary.metadata;
    let message = format!("{} more like this suppressed", summary.count);
    let at = callsite(metadata);
    if json {
        let line = serde_json::json!({
            "timestamp": stamp.text(),
            "level": metadata.level().as_str(),
            "fields": { "message": message, "callsite": at },
            "target": metadata.target(),
        });
        return writeln!(writer, "{line}");
    }
    let (level, target) = (metadata.level().as_str(), metadata.target());
    writeln!(
        writer,
        "{} {level:>5} {target}: {message} callsite={at}",
        stamp.text()
    )
}

/// `file:line`, which finds the message in the source.
fn callsite(metadata: &Metadata<'_>) -> String {
    match (metadata.file(), metadata.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => metadata.name().to_owned(),
    }
}

/// Writes one line with every control character escaped. In JSON a control character can only stand within a
/// string, where `\u` is its escape.
fn write_escaped(writer: &mut Writer<'_>, line: &str, json: bool) -> fmt::Result {
    for character in line.chars() {
        match character {
            // The Unicode line and paragraph separators end a line for some readers.
            '\u{2028}' | '\u{2029}' => write!(writer, "\\u{:04x}", u32::from(character))?,
            control if control.is_control() && json => {
                write!(writer, "\\u{:04x}", u32::from(control))?;
            }
            control if control.is_control() => write!(writer, "{}", control.escape_default())?,
            plain => writer.write_char(plain)?,
        }
    }
    Ok(())
}

/// The timestamp of a line, from the wall clock of the agent.
#[derive(Clone)]
struct Stamp(Arc<dyn Clock>);

impl Stamp {
    fn text(&self) -> String {
        rfc3339(self.0.wall())
    }
}

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&self.text())
    }
}

/// RFC 3339 in UTC with milliseconds; moments before 1970 are written as 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let ms = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The Gregorian date of a day since 1970-01-01. Counts in 400-year eras (146,097 days) that begin on 1 March,
/// so that the leap day is the last of its year.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;

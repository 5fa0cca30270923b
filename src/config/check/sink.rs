//! One sink: its type first, for the type says which keys there are and what their defaults are.

use super::{at_most, is_map, lines, rows, select};
use crate::config::keys::{BACKLOG_NUMBERS, Backlog, Known, LIMITS, SINK_NUMBERS, common};
use crate::config::mistake::Report;
use crate::config::multiline;
use crate::config::sinks::{COMPRESSION_LEVEL, SinkType};
use crate::config::walk::Section;
use crate::config::yaml::Value;
use crate::config::{Compression, Config, Limits, ReadFrom, Signals, Sink, SinkKind};

/// Makes the sink called `name`. Of `config`, all but the sinks has been checked.
pub(super) fn check(
    section: Section<'_>,
    name: &str,
    config: &Config,
    report: &mut Report,
) -> Sink {
    let section = section.knowing(common());
    let types = SinkType::ALL.map(|of| (of.name(), of));
    let of = section.choice("type", &types, report);
    if section.entry("type").is_none() {
        section.missing("type", report);
    }
    let section = section.knowing(match of {
        Some(of) => of.keys(),
        // Nobody can tell which keys are foreign to a type that is not known.
        None => SinkType::ALL
            .into_iter()
            .fold(Known::default(), |all, of| all.and(of.keys())),
    });
    section.refuse_unknown(report);
    let mut kind = SinkKind::new(of.unwrap_or(SinkType::Blackhole), config);
    kind.check(&section, config, report);
    let mut sink = Sink::new(name.to_owned(), kind);
    signals(&section, &mut sink, report);
    sink.lines = config.logs.lines.clone();
    lines::check(&section, &mut sink.lines, report);
    section.numbers(&SINK_NUMBERS, &mut sink, report);
    section.numbers(&LIMITS, &mut sink.limits, report);
    relations(&section, &sink.limits, report);
    sink.multiline = config.logs.multiline.clone();
    multiline::check(&section, &mut sink.multiline, report);
    sink.select = config.logs.select.clone();
    select::check(&section, &mut sink.select, config, report);
    rows::check(&section, &mut sink.rows, sink.signals, report);
    compression(&section, &mut sink.compression, report);
    if let Some(read_from) = read_from(&section, report) {
        sink.read_from = read_from;
    }
    sink.check_whole(&section, report);
    sink
}

/// What the sink takes: a list of names, none of them twice.
fn signals(section: &Section<'_>, sink: &mut Sink, report: &mut Report) {
    let Some(field) = section.field("signals") else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    let mut found = Signals {
        logs: false,
        metrics: false,
    };
    for item in items {
        let word = match &item.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            _ => "",
        };
        let signal = match word {
            "logs" => &mut found.logs,
            "metrics" => &mut found.metrics,
            _ => return field.refuse(report),
        };
        if std::mem::replace(signal, true) {
            let text = format!("found {word} twice; allowed is once");
            return report.add(item.place, &field.path, text);
        }
    }
    if items.is_empty() {
        return field.refuse(report);
    }
    let of = sink.kind.of();
    for (word, asked, can) in [
        ("logs", found.logs, of.takes().logs),
        ("metrics", found.metrics, of.takes().metrics),
    ] {
        if asked && !can {
            let text = format!(
                "found {word}, which a sink of type {} cannot take",
                of.name()
            );
            return report.add(field.place, &field.path, text);
        }
    }
    sink.signals = found;
}

fn relations(section: &Section<'_>, limits: &Limits, report: &mut Report) {
    let record = ("record_bytes_max", limits.record_bytes_max as u64);
    let uncompressed = (
        "payload_uncompressed_bytes_max",
        limits.payload_uncompressed_bytes_max as u64,
    );
    let payload = ("payload_bytes_max", limits.payload_bytes_max as u64);
    let join = ("join_bytes_max", limits.join_bytes_max as u64);
    let in_flight = ("requests_in_flight", limits.requests_in_flight as u64);
    let slots = ("payload_slots", limits.payload_slots as u64);
    let backoff_min = ("backoff_min_ms", limits.backoff_min_ms);
    let backoff_max = ("backoff_max_ms", limits.backoff_max_ms);
    at_most(section, payload, uncompressed, report);
    at_most(section, record, uncompressed, report);
    at_most(section, record, join, report);
    at_most(section, in_flight, slots, report);
    at_most(section, backoff_min, backoff_max, report);
}

#[derive(Clone, Copy)]
enum Codec {
    None,
    Gzip,
    Zstd,
}

fn compression(section: &Section<'_>, compression: &mut Compression, report: &mut Report) {
    if *compression == Compression::Snappy {
        // A part of the protocol: there is nothing to choose.
        return;
    }
    let codecs = [
        ("none", Codec::None),
        ("gzip", Codec::Gzip),
        ("zstd", Codec::Zstd),
    ];
    let chosen = section.choice("compression", &codecs, report);
    if chosen.is_none() && section.entry("compression").is_some() {
        return;
    }
    let codec = chosen.unwrap_or(match compression {
        Compression::None | Compression::Snappy => Codec::None,
        Compression::Gzip(_) => Codec::Gzip,
        Compression::Zstd(_) => Codec::Zstd,
    });
    let field = section.field("compression_level");
    let mut level = COMPRESSION_LEVEL;
    if let Some(field) = field.filter(|field| !field.is_null()) {
        let level_max = match codec {
            Codec::None => 0,
            Codec::Gzip => 9,
            Codec::Zstd => 19,
        };
        let found = field.text().and_then(|text| text.parse().ok());
        match found.filter(|level| (1..=level_max).contains(level)) {
            Some(found) => level = found,
            None => field.refuse(report),
        }
    }
    *compression = match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip(level),
        Codec::Zstd => Compression::Zstd(i32::try_from(level).unwrap_or(1)),
    };
}

fn read_from(section: &Section<'_>, report: &mut Report) -> Option<ReadFrom> {
    let field = section.field("read_from")?;
    if !is_map(field.node) {
        let words = [("beginning", ReadFrom::Beginning), ("end", ReadFrom::End)];
        return section.choice("read_from", &words, report);
    }
    let known = Known::default().numbers(&BACKLOG_NUMBERS);
    let inner = section.section("read_from", known, report)?;
    let mut backlog = Backlog::default();
    let is_null = |key: &str| inner.field(key).is_some_and(|field| field.is_null());
    let given = BACKLOG_NUMBERS.into_iter();
    let given: Vec<_> = given.filter(|number| !is_null(number.name)).collect();
    inner.numbers(&given, &mut backlog, report);
    if inner.entries.iter().all(|entry| is_null(&entry.key)) {
        return field.wrong(report);
    }
    Some(ReadFrom::Backlog {
        age_max_ms: backlog.age_max_ms,
        bytes_max: backlog.bytes_max,
    })
}

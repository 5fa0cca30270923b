//! The messages of both versions, from their public field numbers, and the way from the second version to the first.

use std::collections::HashMap;

/// Version 1: `prometheus.WriteRequest`.
pub mod v1 {
    use prost::encoding;

    use crate::samples::remote_write::labels::Labels;

    /// One request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        /// The series.
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// One series with its samples.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Sorted by name.
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        /// In the order of time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
    }

    /// One label.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Label {
        /// Its name.
        #[prost(string, tag = "1")]
        pub name: String,
        /// Its value.
        #[prost(string, tag = "2")]
        pub value: String,
    }

    /// One sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// The value.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }

    /// Appends a series with one sample to a request: what encoding a [`TimeSeries`] gives, without making one.
    pub fn put_series(labels: &Labels, value: f64, timestamp: i64, out: &mut Vec<u8>) {
        use encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
        let text_len = |text: &str| 1 + encoded_len_varint(text.len() as u64) + text.len();
        let message_len = |len: usize| 1 + encoded_len_varint(len as u64) + len;
        let sample = Sample { value, timestamp };
        let label_len = |label: &(String, String)| text_len(&label.0) + text_len(&label.1);
        let of_labels = labels.iter().map(|label| message_len(label_len(label)));
        let len = of_labels.sum::<usize>() + encoding::message::encoded_len(2, &sample);
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(len as u64, out);
        for label in labels {
            encode_key(1, WireType::LengthDelimited, out);
            encode_varint(label_len(label) as u64, out);
            encoding::string::encode(1, &label.0, out);
            encoding::string::encode(2, &label.1, out);
        }
        encoding::message::encode(2, &sample, out);
    }
}

/// Version 2: `io.prometheus.write.v2.Request`.
pub mod v2 {
    /// The field of [`Request`] that holds the series.
    pub const REQUEST_TIMESERIES: u32 = 5;

    /// No type is known.
    pub const METRIC_TYPE_UNSPECIFIED: i32 = 0;
    /// A counter.
    pub const METRIC_TYPE_COUNTER: i32 = 1;
    /// A gauge.
    pub const METRIC_TYPE_GAUGE: i32 = 2;

    /// One request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// All texts, each once; the first is empty.
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        /// The series.
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }

    /// One series with its samples.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        /// Numbers of symbols: name, value, name, value...
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        /// In the order of time.
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        /// What it is.
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
    }

    /// One sample.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        /// The value.
        #[prost(double, tag = "1")]
        pub value: f64,
        /// Milliseconds since 1970.
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
        /// Since when a counter counts, in milliseconds since 1970; 0: not known.
        #[prost(int64, tag = "3")]
        pub start_timestamp: i64,
    }

    /// What a series is.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Metadata {
        /// Its type.
        #[prost(int32, tag = "1")]
        pub kind: i32,
        /// The number of its help text.
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        /// The number of its unit.
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
}

/// Texts and their numbers, for version 2.
#[derive(Debug, Default)]
pub struct SymbolTable {
    numbers: HashMap<String, u32>,
    symbols: Vec<String>,
    bytes: usize,
}

impl SymbolTable {
    /// The number of a text; 0 for the empty one.
    pub fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.symbols.push(text.to_owned());
        self.bytes += text.len() + 6;
        let number = self.symbols.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// About how many bytes it will take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All texts by their numbers.
    pub fn into_symbols(self) -> Vec<String> {
        std::iter::once(String::new()).chain(self.symbols).collect()
    }
}

/// A request of version 2 as one of version 1. A number without a text, which no request of ours has, ends in none.
pub fn to_version_1(request: &v2::Request) -> v1::WriteRequest {
    let text = |number: Option<&u32>| {
        let symbol = number.and_then(|number| request.symbols.get(*number as usize));
        symbol.cloned().unwrap_or_default()
    };
    let series = |series: &v2::TimeSeries| v1::TimeSeries {
        labels: series
            .labels_refs
            .chunks(2)
            .map(|pair| v1::Label {
                name: text(pair.first()),
                value: text(pair.get(1)),
            })
            .collect(),
        samples: series
            .samples
            .iter()
            .map(|sample| v1::Sample {
                value: sample.value,
                timestamp: sample.timestamp,
            })
            .collect(),
    };
    v1::WriteRequest {
        timeseries: request.timeseries.iter().map(series).collect(),
    }
}

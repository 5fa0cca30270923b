//! The messages of OTLP metrics, written from the public field numbers of opentelemetry-proto 1.x; what nothing here
//! says is left out.

use prost::{Message, Oneof};

/// `AggregationTemporality`: since the start, not since the last time.
pub const CUMULATIVE: i32 = 2;

/// `ExportMetricsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// One per source.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// Metrics of one source.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceMetrics {
    /// The source.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Its metrics, by who measured them.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
    /// The conventions that attributes follow.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// What metrics are of.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Its attributes.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Metrics that one measured.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeMetrics {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// What.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// The points of one name.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// One sentence.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Unit, in the words of UCUM.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// The points.
    #[prost(oneof = "Data", tags = "5, 7")]
    pub data: Option<Data>,
}

impl Metric {
    /// Its points.
    pub fn points_mut(&mut self) -> Option<&mut Vec<Point>> {
        match self.data.as_mut()? {
            Data::Gauge(gauge) => Some(&mut gauge.data_points),
            Data::Sum(sum) => Some(&mut sum.data_points),
        }
    }
}

/// What kind of metric it is.
#[derive(Clone, PartialEq, Oneof)]
pub enum Data {
    /// A state.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// Something that adds up.
    #[prost(message, tag = "7")]
    Sum(Sum),
}

/// A state.
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// The points.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<Point>,
}

/// Something that adds up.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// The points.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<Point>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    /// Whether it only grows.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// `NumberDataPoint`.
#[derive(Clone, PartialEq, Message)]
pub struct Point {
    /// Since when it adds up; 0: not known.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// When it was measured.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The value.
    #[prost(oneof = "Number", tags = "4, 6")]
    pub value: Option<Number>,
    /// What tells it from others of its name.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// A point's value.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum Number {
    /// With a fraction.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Without.
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

impl KeyValue {
    /// An attribute whose value is text.
    pub fn text(key: &str, value: &str) -> KeyValue {
        KeyValue::of(key, Any::Text(value.to_owned()))
    }

    /// An attribute of any value.
    pub fn of(key: &str, value: Any) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        }
    }
}

/// An attribute's value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "Any", tags = "1, 3")]
    pub value: Option<Any>,
}

/// What values there are.
#[derive(Clone, PartialEq, Oneof)]
pub enum Any {
    /// Text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A number.
    #[prost(int64, tag = "3")]
    Int(i64),
}

//! The messages of `proto/longshore/v1/logs.proto`, as a receiver declares them.

use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Message)]
pub struct LogBatch {
    #[prost(message, repeated, tag = "1")]
    pub groups: Vec<RecordGroup>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RecordGroup {
    #[prost(message, optional, tag = "1")]
    pub container: Option<Container>,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Container {
    #[prost(string, tag = "1")]
    pub computer: String,
    #[prost(string, tag = "2")]
    pub container_id: String,
    #[prost(string, tag = "3")]
    pub container_name: String,
    #[prost(string, tag = "4")]
    pub pod_name: String,
    #[prost(string, tag = "5")]
    pub pod_namespace: String,
    #[prost(string, tag = "6")]
    pub pod_uid: String,
    #[prost(uint32, tag = "7")]
    pub restart_count: u32,
    #[prost(string, tag = "8")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "9")]
    pub fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Field {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub json: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(enumeration = "LogSource", tag = "3")]
    pub source: i32,
    #[prost(enumeration = "LogLevel", tag = "4")]
    pub level: i32,
    #[prost(bytes = "vec", tag = "5")]
    pub record_uid: Vec<u8>,
    #[prost(bool, tag = "6")]
    pub partial: bool,
    #[prost(bool, tag = "7")]
    pub cut: bool,
    #[prost(bool, tag = "8")]
    pub unparsed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum LogSource {
    Unspecified = 0,
    Stdout = 1,
    Stderr = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum LogLevel {
    Unknown = 0,
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warning = 4,
    Error = 5,
    Critical = 6,
}

//! Attributes: what OTLP says of a resource, of a scope and of a record.
//!
//! Invariant: an attribute that the user sets takes the place of one of that name, so that no name is there twice.

use super::SCOPE_NAME;
use crate::config::MetadataFields;
use crate::encode::metadata::{Metadata, workload_attribute};
use crate::encode::protobuf::{length_delimited, put_bytes, put_varint, varint};
use crate::record::ChainMeta;

/// `Resource.attributes`.
const ATTRIBUTES: u8 = length_delimited(1);
/// `KeyValue.key` and `KeyValue.value`.
const KEY: u8 = length_delimited(1);
const VALUE: u8 = length_delimited(2);
/// `AnyValue.string_value` and `AnyValue.int_value`.
const STRING_VALUE: u8 = length_delimited(1);
const INT_VALUE: u8 = varint(3);
/// `AnyValue.array_value` and `ArrayValue.values`.
const ARRAY_VALUE: u8 = length_delimited(5);
const VALUES: u8 = length_delimited(1);
/// `InstrumentationScope.name` and `InstrumentationScope.version`.
const NAME: u8 = length_delimited(1);
const VERSION: u8 = length_delimited(2);

/// An attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A number that is not negative.
    Number(u64),
    /// A list of one text.
    Listed(&'a str),
}

/// What the user wants said of every resource: an attribute without a value is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, Option<String>)>);

impl Attributes {
    /// Those attributes.
    pub fn new(attributes: Vec<(String, Option<String>)>) -> Attributes {
        Attributes(attributes)
    }

    /// `own`, with the user's in their place or behind them. What is empty is left out.
    pub fn over<'a>(&'a self, own: Vec<(&'a str, Value<'a>)>) -> Vec<(&'a str, Value<'a>)> {
        let Attributes(set) = self;
        let mut all = own;
        all.retain(|(name, value)| {
            !matches!(value, Value::Text("") | Value::Listed(""))
                && !set.iter().any(|(other, _)| other == name)
        });
        all.extend(set.iter().filter_map(|(name, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty());
            Some((name.as_str(), Value::Text(value?)))
        }));
        all
    }

    /// The `Resource` of a chain.
    pub(super) fn of_chain(
        &self,
        chain: &ChainMeta,
        node: &str,
        cluster_name: Option<&str>,
        wanted: MetadataFields,
    ) -> Vec<u8> {
        let key = &chain.key;
        let known = Metadata::of(chain, wanted);
        let named = |prefix: &str, pairs: &[(&str, &str)]| -> Vec<String> {
            let names = pairs.iter().map(|(name, _)| format!("{prefix}{name}"));
            names.collect()
        };
        let labels = named("k8s.pod.label.", &known.labels);
        let annotations = named("k8s.pod.annotation.", &known.annotations);
        let mut own = vec![
            // Of what Kubernetes offers for it, this is what is known of every container.
            ("service.name", Value::Text(&key.container)),
            (
                "k8s.cluster.name",
                Value::Text(cluster_name.unwrap_or_default()),
            ),
            ("k8s.node.name", Value::Text(node)),
            ("k8s.namespace.name", Value::Text(&chain.namespace)),
            ("k8s.pod.name", Value::Text(&chain.pod)),
            ("k8s.pod.uid", Value::Text(known.uid)),
            ("k8s.container.name", Value::Text(&key.container)),
            (
                "k8s.container.restart_count",
                Value::Number(key.restart.into()),
            ),
            ("container.id", Value::Text(&chain.container_id)),
        ];
        own.extend(of_image(&known));
        if let Some(workload) = known.workload
            && let Some(name) = workload_attribute(&workload.kind)
        {
            own.push((name, Value::Text(&workload.name)));
        }
        for (names, pairs) in [(&labels, &known.labels), (&annotations, &known.annotations)] {
            let values = pairs.iter().map(|(_, value)| Value::Text(value));
            own.extend(names.iter().map(String::as_str).zip(values));
        }
        let mut resource = Vec::new();
        for (name, value) in self.over(own) {
            put(ATTRIBUTES, name, value, &mut resource);
        }
        resource
    }
}

/// What image the container runs (semantic conventions, "Container attributes").
fn of_image<'a>(known: &'a Metadata<'_>) -> [(&'static str, Value<'a>); 3] {
    let is_digest_of_repository = known.image_id.contains('@');
    let digest = known.image_id.split_once("://");
    let digest = digest.map_or(known.image_id, |(_, digest)| digest);
    [
        ("container.image.name", Value::Text(&known.repository)),
        ("container.image.tags", Value::Listed(&known.image.tag)),
        if is_digest_of_repository {
            ("container.image.repo_digests", Value::Listed(digest))
        } else {
            ("container.image.id", Value::Text(digest))
        },
    ]
}

/// The `InstrumentationScope` of all that the agent sends.
pub(super) fn scope() -> Vec<u8> {
    let mut scope = Vec::new();
    put_bytes(NAME, SCOPE_NAME.as_bytes(), &mut scope);
    put_bytes(VERSION, env!("CARGO_PKG_VERSION").as_bytes(), &mut scope);
    scope
}

/// Appends an attribute whose value is text.
pub(super) fn put_string(tag: u8, name: &str, value: &str, out: &mut Vec<u8>) {
    put(tag, name, Value::Text(value), out);
}

/// Appends an attribute as the field of this tag. A name or value with the length of a whole record costs a copy more;
/// there are none on the hot path.
fn put(tag: u8, name: &str, value: Value<'_>, out: &mut Vec<u8>) {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => put_bytes(STRING_VALUE, text.as_bytes(), &mut any),
        Value::Number(number) => {
            any.push(INT_VALUE);
            put_varint(number, &mut any);
        }
        Value::Listed(text) => {
            let mut item = Vec::new();
            put_bytes(STRING_VALUE, text.as_bytes(), &mut item);
            let mut list = Vec::new();
            put_bytes(VALUES, &item, &mut list);
            put_bytes(ARRAY_VALUE, &list, &mut any);
        }
    }
    let mut pair = Vec::new();
    put_bytes(KEY, name.as_bytes(), &mut pair);
    put_bytes(VALUE, &any, &mut pair);
    put_bytes(tag, &pair, out);
}

//! Attributes: what OTLP says of a resource, of a scope and of a record.
//!
//! Invariant: an attribute that the user sets takes the place of one of that name, so that no name is there twice.

use super::SCOPE_NAME;
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
            *value != Value::Text("") && !set.iter().any(|(other, _)| other == name)
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
    ) -> Vec<u8> {
        let key = &chain.key;
        let own = vec![
            // Of what Kubernetes offers for it, this is what is known of every container.
            ("service.name", Value::Text(&key.container)),
            (
                "k8s.cluster.name",
                Value::Text(cluster_name.unwrap_or_default()),
            ),
            ("k8s.node.name", Value::Text(node)),
            ("k8s.namespace.name", Value::Text(&chain.namespace)),
            ("k8s.pod.name", Value::Text(&chain.pod)),
            ("k8s.pod.uid", Value::Text(&key.pod_uid)),
            ("k8s.container.name", Value::Text(&key.container)),
            (
                "k8s.container.restart_count",
                Value::Number(key.restart.into()),
            ),
            ("container.id", Value::Text(&chain.container_id)),
        ];
        let mut resource = Vec::new();
        for (name, value) in self.over(own) {
            put(ATTRIBUTES, name, value, &mut resource);
        }
        resource
    }
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
    }
    let mut pair = Vec::new();
    put_bytes(KEY, name.as_bytes(), &mut pair);
    put_bytes(VALUE, &any, &mut pair);
    put_bytes(tag, &pair, out);
}

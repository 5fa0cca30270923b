//! Values that are never printed: given as text, or in a file.

use std::path::PathBuf;

use hyper::header::HeaderValue;

use super::mistake::Report;
use super::walk::{Field, absolute};
use super::yaml::Value;

/// What a secret may be.
pub const SECRET: &str = "a text, or {file: PATH} with an absolute path";

/// A value that is never printed.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// Given in the config (perhaps through `${NAME}`).
    Literal(String),
    /// Read from a file, again when the file changes. Trailing line ends are not part of it.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Literal(_) => f.write_str("(hidden)"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// A text that fits into a header, or a file that will hold one.
pub(super) fn secret(field: &Field<'_>, report: &mut Report) -> Option<Secret> {
    if let Value::Map(entries) = &field.node.value {
        let [entry] = entries.as_slice() else {
            return field.wrong_hidden(report);
        };
        let path = match &entry.value.value {
            Value::Refused => return None,
            Value::Scalar(scalar) if entry.key == "file" => absolute(&scalar.text),
            _ => None,
        };
        return path
            .map(Secret::File)
            .or_else(|| field.wrong_hidden(report));
    }
    let fits = |text: &&str| !text.is_empty() && HeaderValue::from_str(text).is_ok();
    match field.text().filter(fits) {
        Some(text) => Some(Secret::Literal(text.to_owned())),
        None => field.wrong_hidden(report),
    }
}

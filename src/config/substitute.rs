//! Environment variables in values: `${NAME}`, `${NAME:-default}`, and `$${` for a plain `${`.
//!
//! Works on one scalar after YAML has been read, so what a variable holds can never become structure.

use thiserror::Error;

/// Where variables come from.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Longest value after substitution, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a value could not be filled in. No variant holds a variable's value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// The variable does not exist and there is no default.
    #[error(
        "the environment variable {0} is not set; set it, or give a default: ${{{0}:-default}}"
    )]
    Unset(String),
    /// No `}` follows.
    #[error("`${{` without its `}}`; write $${{ where no variable is meant")]
    Open,
    /// Not the name of a variable.
    #[error(
        "found ${{{0}}}; allowed is ${{NAME}} or ${{NAME:-default}} with a NAME of letters, digits and underscores; \
         write $${{ where no variable is meant"
    )]
    Name(String),
    /// The result is too long.
    #[error("the value is longer than {VALUE_BYTES_MAX} bytes once variables are filled in")]
    Long,
}

/// `text` with its variables filled in, and whether there were any.
pub fn substitute(text: &str, environment: &Environment<'_>) -> Result<(String, bool), Wrong> {
    let mut filled = String::with_capacity(text.len());
    let mut any = false;
    let mut rest = text;
    while let Some((before, from_dollar)) = split_at_dollar(rest) {
        filled.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$${") {
            filled.push_str("${");
            rest = after;
        } else if let Some(after) = from_dollar.strip_prefix("${") {
            let (inner, after) = after.split_once('}').ok_or(Wrong::Open)?;
            filled.push_str(&variable(inner, environment)?);
            any = true;
            rest = after;
        } else {
            filled.push('$');
            rest = from_dollar.strip_prefix('$').unwrap_or_default();
        }
        if filled.len() > VALUE_BYTES_MAX {
            return Err(Wrong::Long);
        }
    }
    filled.push_str(rest);
    if filled.len() > VALUE_BYTES_MAX {
        return Err(Wrong::Long);
    }
    Ok((filled, any))
}

/// The text that [`substitute`] turns into `text`.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn split_at_dollar(text: &str) -> Option<(&str, &str)> {
    text.find('$').and_then(|at| text.split_at_checked(at))
}

fn variable(inner: &str, environment: &Environment<'_>) -> Result<String, Wrong> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || first_is_digit || !name.chars().all(known) {
        return Err(Wrong::Name(super::mistake::cut(name, 64)));
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        // As in a shell: `:-` stands in for an empty variable, too.
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Wrong::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("9600".to_owned()),
            "EMPTY" => Some(String::new()),
            "EVIL" => Some("${PORT}: {a: [b".to_owned()),
            "LONG" => Some("x".repeat(VALUE_BYTES_MAX)),
            _ => None,
        }
    }

    fn filled(text: &str) -> Result<String, Wrong> {
        substitute(text, &environment).map(|(text, _)| text)
    }

    #[test]
    fn variables_defaults_and_escapes() {
        assert_eq!(filled("0.0.0.0:${PORT}").unwrap(), "0.0.0.0:9600");
        assert_eq!(filled("${NONE:-x:-y}${EMPTY:-z}").unwrap(), "x:-yz");
        assert_eq!(filled("a${EMPTY}b${NONE:-}c").unwrap(), "abc");
        assert_eq!(
            filled("$${PORT} $5 $ $$ $$${PORT}").unwrap(),
            "${PORT} $5 $ $$ $${PORT}"
        );
        assert_eq!(filled("${EVIL}").unwrap(), "${PORT}: {a: [b");
    }

    #[test]
    fn what_cannot_be_filled_in_is_told_apart() {
        assert_eq!(filled("${NONE}"), Err(Wrong::Unset("NONE".to_owned())));
        assert_eq!(filled("a ${PORT"), Err(Wrong::Open));
        assert_eq!(filled("${}"), Err(Wrong::Name(String::new())));
        assert_eq!(filled("${9A}"), Err(Wrong::Name("9A".to_owned())));
        assert_eq!(filled("${a b}"), Err(Wrong::Name("a b".to_owned())));
        assert_eq!(filled("${LONG}x"), Err(Wrong::Long));
    }

    proptest! {
        /// Invariant: what was escaped comes back as it was, and no variable is looked up for it.
        #[test]
        fn escaped_text_comes_back(text in "[$\\{\\}a:-]{0,12}|.{0,40}") {
            prop_assert_eq!(substitute(&escape(&text), &|_| None), Ok((text, false)));
        }
    }
}

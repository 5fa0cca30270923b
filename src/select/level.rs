//! How urgent a line says it is, from its first bytes and without parsing it in full.
//!
//! The rules, tried in this order on the first [`HEAD_BYTES_MAX`] bytes; the first that gives a
//! level wins, and a line of which none is sure is `UNKNOWN`:
//!
//! 1. *JSON object*: a field of the object itself (never one of a nested object, never text inside a
//!    string) that is named `level`, `severity`, `lvl`, `loglevel`, `log_level`, `log.level`,
//!    `levelname`, `severity_text`, `severityText` or `@l`, in any case, and holds the name of a
//!    level or, as pino and bunyan write it, a number from 10 to 69 (not under a name of severity or
//!    `@l`); or `severityNumber`/`severity_number` with OpenTelemetry's 1 to 24. No other rule is
//!    tried on a line that begins with `{`.
//! 2. *syslog* `<n>`: the severity is `n` modulo 8. *klog*: one of `IWEF`, then `MMDD hh:mm:ss.`.
//! 3. *Leading keyword*: the name of a level as one of the first words, behind nothing but times,
//!    numbers and bracketed or dashed-off names. As the very first word it must be in brackets, or
//!    have a colon behind it, or be in capitals: `Error connecting` may be anything.
//! 4. *logfmt*: `level=`, `lvl=`, `severity=` and their likes at a word's beginning and outside of
//!    quotes.
//! 5. *Last words*: what runtimes print when a program dies.
//!
//! Colour escapes are skipped. Names in any case:
//!
//! | level | names |
//! |---|---|
//! | CRITICAL | fatal, panic, dpanic, critical, crit, alert, emergency, emerg, and short ftl, fata, pani |
//! | ERROR | error, err, erro, severe, fail |
//! | WARNING | warning, warn, wrn |
//! | INFO | information, informational, info, inf, notice |
//! | DEBUG | debug, debu, dbug, dbg |
//! | TRACE | trace, trce, trac, trc, verbose, vrb |
//!
//! Examples; the unit test reads them from here (`\t` is a tab, `\e` an escape):
//!
//! ```text
//! ERROR     {"time":"2024-01-01T00:00:00Z","level":"error","msg":"x"}
//! WARNING   { "msg": "level: fatal", "Level": "Warn" }
//! INFO      {"nested":{"level":"fatal","list":[{"level":"fatal"}]},"severity":"NOTICE"}
//! DEBUG     {"log.level":"debug","@timestamp":"2024-01-01T00:00:00Z"}
//! CRITICAL  {"lvl":"crit"}
//! INFO      {"LogLevel":"Information","Category":"x"}
//! ERROR     {"levelname": "ERROR", "levelno": 10}
//! TRACE     {"@t":"2024-01-01T00:00:00Z","@l":"Verbose"}
//! TRACE     {"level":10,"time":1531171074631,"msg":"x"}
//! INFO      {"name":"bunyan","hostname":"h","pid":1,"level":30}
//! WARNING   {"level":40}
//! CRITICAL  {"level":60}
//! ERROR     {"severityNumber":17,"body":"x"}
//! WARNING   {"severity_number":13}
//! ERROR     {"level":"odd","severity":"error"}
//! UNKNOWN   {"level":3,"short_message":"numbers below 10 have many meanings"}
//! UNKNOWN   {"severity":30}
//! UNKNOWN   {"msg":"ERROR in text","data":{"level":"error"}}
//! UNKNOWN   {"message":"level=error"}
//! UNKNOWN   {"msg":"\"level\":\"error\""}
//! UNKNOWN   {"level":"error
//! CRITICAL  <2>kernel: out of memory
//! ERROR     <3>something failed
//! WARNING   <28>systemd[1]: a warning of the daemon facility
//! INFO      <30>systemd[1]: an information
//! INFO      <29>systemd[1]: a notice
//! DEBUG     <31>systemd[1]: x
//! UNKNOWN   <192>beyond the last facility
//! UNKNOWN   <html>
//! INFO      I1122 12:34:56.789012       1 main.go:10] started
//! WARNING   W1122 12:34:56.789012       1 main.go:10] slow
//! ERROR     E1122 12:34:56.789012       1 main.go:10] failed
//! CRITICAL  F1122 12:34:56.789012       1 main.go:10] dying
//! UNKNOWN   E1122 is the code of a fault
//! ERROR     [ERROR] plugin/errors: 2 example.org
//! INFO      [INFO ] [main] started
//! WARNING   [warn] x
//! ERROR     ERROR foo
//! ERROR     ERROR:root:python's default
//! ERROR     Error: of JavaScript
//! WARNING   warning: of a compiler
//! CRITICAL  fatal: not a repository
//! ERROR     fail: Microsoft.AspNetCore.Server.Kestrel[13]
//! WARNING   warn: Microsoft.AspNetCore[0]
//! CRITICAL  crit: Microsoft.AspNetCore[0]
//! DEBUG     dbug: Microsoft.AspNetCore[0]
//! TRACE     trce: Microsoft.AspNetCore[0]
//! INFO      INFO[0000] of logrus
//! ERROR     \e[31mERROR\e[0m in red
//! WARNING   \e[33m[WARN]\e[0m in yellow
//! ERROR     2024-01-01 12:00:00,123 ERROR foo
//! ERROR     2024-01-01 12:00:00,123 error while reading
//! INFO      2024-01-01 12:00:00.123 [main] INFO  com.example.Main - of logback
//! WARNING   2024-01-01T12:00:00.123+01:00  WARN 1 --- [nio-8080-exec-1] c.e.Main : of Spring
//! ERROR     2024-01-01 12:00:00,123 - module.name - ERROR - of Python
//! INFO      2024-01-01 12:00:00.123 | INFO     | module:function:1 - of loguru
//! INFO      2024-01-01T12:00:00.000Z\tINFO\tmain.go:12\tof zap
//! ERROR     2024/01/01 12:00:00 [error] 7#7: *1 open() failed
//! WARNING   2024-01-01T12:00:00.000000Z 0 [Warning] [MY-010068] [Server] x
//! ERROR     2024-01-01 12:00:00.000 UTC [17] ERROR:  relation "x" does not exist
//! CRITICAL  2024-01-01 12:00:00.000 UTC [17] FATAL:  the database system is starting up
//! INFO      [2024-01-01 12:00:00.123][1][info][main] [source.cc:1] of envoy
//! WARNING   [2024-01-01T12:00:00,123][WARN ][o.e.n.Node] [node] x
//! INFO      [2024-01-01 12:00:00 +0000] [1] [INFO] Starting gunicorn
//! ERROR     [2024-01-01T12:00:00Z ERROR crate::module] of env_logger
//! ERROR     [12:00:00 ERR] of Serilog
//! ERROR     12:00PM ERR of zerolog
//! ERROR     [Wed Oct 11 14:32:52.123456 2023] [core:error] [pid 35708:tid 1] of httpd
//! ERROR     E, [2024-01-01T12:00:00.123456 #1] ERROR -- : of Ruby
//! CRITICAL  [01-Jan-2024 12:00:00 UTC] PHP Fatal error:  Uncaught x
//! WARNING   PHP Warning:  Undefined variable
//! DEBUG     1700000000.123 DEBUG epoch seconds
//! UNKNOWN   2024-01-01 12:00:00 connected without error
//! UNKNOWN   Error connecting to the database
//! UNKNOWN   error rates are low
//! UNKNOWN   Information desk
//! UNKNOWN   404 error page served
//! UNKNOWN   404/500 error ratio
//! UNKNOWN   ERROR_COUNT 0
//! UNKNOWN   DEBUG=true npm start
//! UNKNOWN   errors: 0
//! UNKNOWN   no ERROR here
//! UNKNOWN   10.0.0.1 - - [01/Jan/2024:12:00:00 +0000] "GET /error HTTP/1.1" 200 5
//! WARNING   level=warn msg="x"
//! ERROR     time="2024-01-01T12:00:00Z" level=error msg="x"
//! INFO      ts=2024-01-01T12:00:00Z caller=x.go:1 level="info" msg=x
//! DEBUG     msg=x lvl=dbug
//! ERROR     2024-01-01 12:00:00 caller=x severity=Error
//! ERROR     msg="said level=debug \" twice" level=error
//! UNKNOWN   msg="level=debug please"
//! UNKNOWN   sealevel=error
//! UNKNOWN   level=high
//! UNKNOWN   level=errors
//! CRITICAL  panic: runtime error: index out of range
//! CRITICAL  fatal error: all goroutines are asleep - deadlock!
//! CRITICAL  thread 'main' panicked at src/main.rs:1:1:
//! CRITICAL  Unhandled exception. System.InvalidOperationException: x
//! ERROR     Traceback (most recent call last):
//! ERROR     Exception in thread "main" java.lang.IllegalStateException: x
//! ERROR     Caused by: java.io.IOException: x
//! ERROR     java.lang.NullPointerException
//! ERROR     org.example.OddException: x
//! ERROR     ValueError: invalid literal
//! UNKNOWN   SomeException happened
//! UNKNOWN   \tat com.example.Main.main(Main.java:1)
//! UNKNOWN   hello world
//! UNKNOWN
//! ```

mod lead;
mod names;

use crate::record::Level;
use crate::tail::json::{Object, Step, Value};
use names::named;

/// Bytes of a message that are looked at.
pub const HEAD_BYTES_MAX: usize = 1024;

/// Keys of names of levels, in lower case. The first [`NUMBER_KEYS`] may hold a number too.
const KEYS: [&[u8]; 10] = [
    b"level",
    b"lvl",
    b"loglevel",
    b"log_level",
    b"log.level",
    b"levelname",
    b"severity",
    b"severity_text",
    b"severitytext",
    b"@l",
];
const NUMBER_KEYS: usize = 6;

/// The level that a message states, by the rules above.
pub fn infer(message: &[u8]) -> Level {
    let head = message.get(..HEAD_BYTES_MAX).unwrap_or(message);
    let head = lead::skip_blanks(head);
    let level = match head.first() {
        None => None,
        Some(b'{') => of_json(head),
        Some(b'<') => of_syslog(head),
        Some(b'I' | b'W' | b'E' | b'F') => of_klog(head).or_else(|| of_text(head)),
        Some(_) => of_text(head),
    };
    level.unwrap_or_default()
}

fn of_text(head: &[u8]) -> Option<Level> {
    lead::keyword(head)
        .or_else(|| of_logfmt(head))
        .or_else(|| lead::last_words(head))
}

fn of_json(head: &[u8]) -> Option<Level> {
    let mut object = Object::open(head)?;
    while let Step::Field(key, value) = object.step() {
        let level = match value {
            Value::Text { raw, .. } if is_key(key, &KEYS) => {
                named(raw).or_else(|| of_number(key, raw))
            }
            Value::Bare(raw) => of_number(key, raw),
            _ => None,
        };
        if level.is_some() {
            return level;
        }
    }
    None
}

fn is_key(key: &[u8], keys: &[&[u8]]) -> bool {
    // All begin with one of these: most keys are told apart by one look.
    matches!(key.first(), Some(b'l' | b'L' | b's' | b'S' | b'@'))
        && keys.iter().any(|known| key.eq_ignore_ascii_case(known))
}

fn of_number(key: &[u8], digits: &[u8]) -> Option<Level> {
    let number = digits.len() <= 2 && digits.iter().all(u8::is_ascii_digit);
    if !number {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + (digit - b'0'));
    if is_key(key, &KEYS[..NUMBER_KEYS]) {
        return Some(match number {
            10..=19 => Level::Trace,
            20..=29 => Level::Debug,
            30..=39 => Level::Info,
            40..=49 => Level::Warning,
            50..=59 => Level::Error,
            60..=69 => Level::Critical,
            _ => return None,
        });
    }
    if is_key(key, &[b"severitynumber", b"severity_number"]) {
        return Some(match number {
            1..=4 => Level::Trace,
            5..=8 => Level::Debug,
            9..=12 => Level::Info,
            13..=16 => Level::Warning,
            17..=20 => Level::Error,
            21..=24 => Level::Critical,
            _ => return None,
        });
    }
    None
}

/// `<n>` as in RFC 5424: facility times 8 plus severity, at most 191.
fn of_syslog(head: &[u8]) -> Option<Level> {
    let inner = head.get(1..)?;
    let digits = inner
        .iter()
        .take(3)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, behind) = inner.split_at_checked(digits)?;
    if digits.is_empty() || behind.first() != Some(&b'>') {
        return None;
    }
    let priority = digits
        .iter()
        .fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0'));
    if priority > 191 {
        return None;
    }
    Some(match priority % 8 {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    })
}

/// `Lmmdd hh:mm:ss.` of klog and glog.
fn of_klog(head: &[u8]) -> Option<Level> {
    const FORM: &[u8; 15] = b"L0000 00:00:00.";
    let start = head.first_chunk::<15>()?;
    let fits = start
        .iter()
        .zip(FORM)
        .skip(1)
        .all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        });
    if !fits {
        return None;
    }
    Some(match start[0] {
        b'I' => Level::Info,
        b'W' => Level::Warning,
        b'E' => Level::Error,
        _ => Level::Critical,
    })
}

fn of_logfmt(head: &[u8]) -> Option<Level> {
    memchr::memchr_iter(b'=', head).find_map(|at| {
        let (before, value) = (head.get(..at)?, head.get(at + 1..)?);
        // All keys end in one of these: most of what stands before a `=` is told apart by one look.
        if !matches!(
            before.last()?,
            b'l' | b'L' | b'y' | b'Y' | b'e' | b'E' | b't' | b'T'
        ) {
            return None;
        }
        let start = before
            .iter()
            .rposition(|byte| {
                !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'-'))
            })
            .map_or(0, |at| at + 1);
        let (outside, key) = before.split_at_checked(start)?;
        if !is_key(key, &KEYS) || is_quoted(outside) {
            return None;
        }
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let word = lead::letters(value);
        let ends = value
            .get(word.len())
            .is_none_or(|byte| b" \t\r\",;)]}".contains(byte));
        if ends { named(word) } else { None }
    })
}

/// Whether a quote is open at the end of `text`.
fn is_quoted(text: &[u8]) -> bool {
    let mut open = false;
    let mut escaped = false;
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => open = !open,
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of the module's documentation.
    fn examples() -> Vec<(&'static str, String)> {
        include_str!("level.rs")
            .lines()
            .skip_while(|line| *line != "//! ```text")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| {
                let line = line.strip_prefix("//! ").unwrap();
                let (level, message) = line.split_once(' ').unwrap_or((line, ""));
                let message = message.trim_start_matches(' ');
                (level, message.replace("\\t", "\t").replace("\\e", "\x1b"))
            })
            .collect()
    }

    #[test]
    fn the_examples_in_the_documentation_hold() {
        let examples = examples();
        assert!(examples.len() > 100);
        let wrong: Vec<String> = examples
            .into_iter()
            .filter_map(|(expected, message)| {
                let level = infer(message.as_bytes()).as_str();
                (level != expected).then(|| format!("{message:?}: {level}, not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn nothing_beyond_the_head_counts() {
        let message = format!(
            "{{\"pad\":\"{}\",\"level\":\"error\"}}",
            "x".repeat(HEAD_BYTES_MAX)
        );
        assert_eq!(infer(message.as_bytes()), Level::Unknown);
        let message = format!("{} level=error", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(infer(message.as_bytes()), Level::Unknown);
        let message = format!("{} level=error", "x".repeat(HEAD_BYTES_MAX - 12));
        assert_eq!(infer(message.as_bytes()), Level::Error);
    }

    proptest! {
        /// Any bytes have a level; the bytes beyond the head do not change it.
        #[test]
        fn any_bytes_have_a_level(
            head in proptest::collection::vec(any::<u8>(), 0..80),
            tail in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut message = head.repeat(HEAD_BYTES_MAX / head.len().max(1) + 1);
            message.truncate(HEAD_BYTES_MAX);
            let level = infer(&message);
            if message.len() == HEAD_BYTES_MAX {
                message.extend_from_slice(&tail);
                prop_assert_eq!(infer(&message), level);
            }
        }

        /// Near misses of the examples are read without a panic.
        #[test]
        fn changed_examples_have_a_level(which: prop::sample::Index, at: prop::sample::Index, byte: u8) {
            let examples = examples();
            let mut message = examples[which.index(examples.len())].1.clone().into_bytes();
            if !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
                infer(&message);
                message.truncate(at);
            }
            infer(&message);
        }
    }
}

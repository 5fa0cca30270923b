use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Time;

struct Stopped(SystemTime);

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time::ZERO
    }

    fn wall(&self) -> SystemTime {
        self.0
    }
}

fn open(directory: &Path, bytes_max: u64) -> DeadLetterFile {
    let wall = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    DeadLetterFile::open(directory, bytes_max, Arc::new(Stopped(wall))).unwrap()
}

fn content(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(DeadLetterFile::NAME)).unwrap()
}

fn reason() -> Reason {
    Reason::new(
        "http_400",
        "POST http://sink/: 400 Bad Request: \"no\" such\u{1}column",
    )
}

#[test]
fn a_letter_is_one_line_of_json_that_holds_record_and_answer() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("state/sink");
    let mut letters = open(&below, 4_096);
    let record = b"{\"LogMessage\":\"a \\\"quote\\\"\"}\n\xff";
    assert_eq!(letters.keep(&reason(), record).unwrap(), Kept::Kept);
    let content = content(&below);
    assert_eq!(content.matches('\n').count(), 1);
    let letter: serde_json::Value = serde_json::from_str(&content).unwrap();
    let encoded = STANDARD.encode(record);
    let record = String::from_utf8_lossy(record).into_owned();
    assert_eq!(
        letter,
        serde_json::json!({
            "time": "2023-11-14T22:13:20.123Z",
            "reason": "http_400",
            "answer": reason().text,
            "record": record,
            "record_base64": encoded,
        })
    );
}

#[test]
fn the_budget_counts_what_was_there_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut letters = open(directory.path(), 1_000);
    let mut kept = 0_usize;
    while letters.keep(&reason(), &[b'x'; 100]).unwrap() == Kept::Kept {
        kept += 1;
        assert!(kept < 1_000);
    }
    assert!(kept > 1);
    let full = content(directory.path());
    assert!(full.len() <= 1_000 && full.lines().count() == kept);
    let mut again = open(directory.path(), 1_000);
    assert_eq!(again.keep(&reason(), &[b'x'; 100]).unwrap(), Kept::Full);
    assert_eq!(content(directory.path()), full);
    // A smaller letter may still fit, and does when the file has been emptied by a person.
    std::fs::remove_file(directory.path().join(DeadLetterFile::NAME)).unwrap();
    assert_eq!(again.keep(&reason(), &[b'x'; 100]).unwrap(), Kept::Kept);
}

#[test]
fn an_error_is_told_when_the_file_cannot_be_had() {
    let directory = tempfile::tempdir().unwrap();
    let mut letters = open(directory.path(), 1_000);
    let path = directory.path().join(DeadLetterFile::NAME);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(letters.keep(&reason(), b"x").is_err());
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(letters.keep(&reason(), b"x").unwrap(), Kept::Kept);
}

proptest! {
    /// Invariant: however much of a last line a crash left, whole lines stay, the rest goes, and the next letter is
    /// a line of its own.
    #[test]
    fn an_unfinished_last_line_is_cut(whole in 0_usize..3, torn in 0_usize..150_000) {
        let directory = tempfile::tempdir().unwrap();
        let lines = "{\"record\":\"before\"}\n".repeat(whole);
        let torn = "x".repeat(torn);
        let path = directory.path().join(DeadLetterFile::NAME);
        std::fs::write(&path, format!("{lines}{torn}")).unwrap();
        let mut letters = open(directory.path(), 1_000_000);
        prop_assert_eq!(content(directory.path()), lines.clone());
        prop_assert_eq!(letters.keep(&reason(), b"after").unwrap(), Kept::Kept);
        let all = content(directory.path());
        prop_assert!(all.starts_with(&lines) && all.ends_with('\n'));
        prop_assert_eq!(all.lines().count(), whole + 1);
        for line in all.lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
        }
    }

    /// Invariant: the date is the one that HTTP dates show for the same moment (another implementation).
    #[test]
    fn moments_are_written_as_dates(second in 0_u64..250_000_000_000, milli in 0_u64..1_000) {
        let moment = UNIX_EPOCH + Duration::from_secs(second) + Duration::from_millis(milli);
        let http = httpdate::fmt_http_date(moment);
        let parts: Vec<&str> = http.split([' ', ',']).filter(|part| !part.is_empty()).collect();
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(parts[2]).unwrap() / 3 + 1;
        let expected = format!("{}-{month:02}-{}T{}.{milli:03}Z", parts[3], parts[1], parts[4]);
        prop_assert_eq!(rfc3339(moment), expected);
    }
}

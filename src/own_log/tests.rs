use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Time;

/// A clock that stands until it is told to go on.
struct Hands(Mutex<Duration>);

impl Hands {
    fn new() -> Arc<Hands> {
        Arc::new(Hands(Mutex::new(Duration::ZERO)))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time::ZERO + *self.0.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + *self.0.lock().unwrap()
    }
}

#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sheet {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines().map(str::to_owned).collect()
    }
}

struct Desk {
    hands: Arc<Hands>,
    sheet: Sheet,
    limit: Arc<RateLimit>,
}

/// Runs `work` with an own log that writes to memory.
fn logged(json: bool, work: impl FnOnce(&Desk)) -> Desk {
    let hands = Hands::new();
    let desk = Desk {
        sheet: Sheet::default(),
        limit: Arc::new(RateLimit::new(hands.clone())),
        hands,
    };
    let config = OwnLog {
        level: Level::INFO,
        json,
    };
    let sheet = desk.sheet.clone();
    let layer = layer(config, desk.hands.clone(), desk.limit.clone(), move || {
        sheet.clone()
    });
    tracing::subscriber::with_default(Registry::default().with(layer), || work(&desk));
    desk
}

fn noise(turn: usize) {
    tracing::warn!(turn, "the same again");
}

#[test]
fn the_first_five_of_a_window_are_written_and_the_rest_summed_up() {
    let desk = logged(false, |desk| {
        (0..20).for_each(noise);
        desk.hands.advance(RateLimit::WINDOW);
        noise(20);
    });
    let lines = desk.sheet.lines();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert!(
        lines[5].contains("15 more like this suppressed"),
        "{lines:#?}"
    );
    assert!(lines[5].contains("src/own_log/tests.rs:"), "{lines:#?}");
    assert!(lines[6].contains("turn=20"), "{lines:#?}");
    assert_eq!(desk.limit.suppressed(), 15);
}

#[test]
fn another_message_brings_out_the_summary_of_one_that_fell_silent() {
    let desk = logged(false, |desk| {
        (0..6).for_each(noise);
        desk.hands.advance(RateLimit::WINDOW / 2);
        tracing::info!("too early");
        desk.hands.advance(RateLimit::WINDOW / 2);
        tracing::info!("late enough");
    });
    let lines = desk.sheet.lines();
    let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
    assert_eq!(at("1 more like this suppressed") + 1, at("late enough"));
    assert!(at("too early") < at("suppressed"));
    assert!(desk.limit.all().is_empty());
}

#[test]
fn one_noisy_message_does_not_silence_another() {
    let desk = logged(false, |_| {
        (0..100).for_each(noise);
        tracing::error!("something else");
    });
    assert!(
        desk.sheet
            .lines()
            .iter()
            .any(|line| line.contains("something else"))
    );
}

#[test]
fn text_has_one_line_per_event_with_control_characters_escaped() {
    let desk = logged(false, |_| {
        let hostile = "a\nERROR forged\r\u{1b}[31m\u{85}\u{2028}b\u{7f}";
        tracing::info!(display = %hostile, debug = ?hostile, text = hostile, "said {hostile}");
    });
    let lines = desk.sheet.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(!lines[0].chars().any(char::is_control), "{lines:#?}");
    assert!(lines[0].contains(r"a\nERROR forged"), "{lines:#?}");
    assert!(lines[0].starts_with("2023-11-14T22:13:20.000Z  INFO longshore::own_log::tests: "));
}

#[test]
fn json_lines_parse_and_keep_their_values() {
    let hostile = "quote \" newline \n c1 \u{9b} del \u{7f} separator \u{2028}";
    let desk = logged(true, |desk| {
        for _ in 0..6 {
            tracing::warn!(value = hostile, count = 3, "message");
        }
        desk.hands.advance(RateLimit::WINDOW);
        tracing::info!("next");
    });
    let lines: Vec<serde_json::Value> = desk
        .sheet
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["fields"]["value"], hostile);
    assert_eq!(lines[0]["fields"]["count"], 3);
    assert_eq!(lines[5]["level"], "WARN");
    assert_eq!(lines[5]["target"], lines[0]["target"]);
    assert_eq!(lines[5]["fields"]["message"], "1 more like this suppressed");
    assert_eq!(lines[6]["fields"]["message"], "next");
    assert!(!desk.sheet.lines().concat().chars().any(char::is_control));
}

#[test]
fn dependencies_are_heard_from_warnings_up() {
    let desk = logged(false, |_| {
        tracing::info!(target: "hyper::proto", "chatter");
        tracing::warn!(target: "hyper::proto", "trouble");
        tracing::debug!("not asked for");
        tracing::info!("asked for");
    });
    let lines = desk.sheet.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].contains("trouble") && lines[1].contains("asked for"),
        "{lines:#?}"
    );
}

#[test]
fn a_writer_that_fails_is_survived() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let hands = Hands::new();
    let limit = Arc::new(RateLimit::new(hands.clone()));
    let config = OwnLog {
        level: Level::INFO,
        json: false,
    };
    let layer = layer(config, hands, limit.clone(), || Closed);
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        (0..6).for_each(noise);
    });
    assert_eq!(limit.suppressed(), 1);
}

proptest! {
    /// Admitted events and the counts of all summaries together are all events, and no window admits more than
    /// its share: over any span of events there are at most `SHOWN_MAX` per started window.
    #[test]
    fn every_event_is_written_or_summed_up(gaps_ms in prop::collection::vec(0_u64..4_000, 1..200)) {
        let mut total_ms = 0;
        let events = gaps_ms.len();
        let desk = logged(false, |desk| {
            for gap_ms in &gaps_ms {
                desk.hands.advance(Duration::from_millis(*gap_ms));
                total_ms += gap_ms;
                noise(0);
            }
        });
        let lines = desk.sheet.lines();
        let shown = lines.iter().filter(|line| line.contains("the same again")).count();
        let told: u64 = lines
            .iter()
            .filter_map(|line| line.split_once(" more like this suppressed"))
            .map(|(head, _)| head.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        let rest: u64 = desk.limit.all().iter().map(|summary| summary.count).sum();
        prop_assert_eq!(shown as u64 + told + rest, events as u64);
        prop_assert_eq!(told + rest, desk.limit.suppressed());
        let windows = total_ms / RateLimit::WINDOW.as_millis() as u64 + 1;
        prop_assert!(shown as u64 <= windows * u64::from(RateLimit::SHOWN_MAX));
    }

    /// For every second from 1970 to 9999 the stamp names the same second as an HTTP date of it does.
    #[test]
    fn stamps_name_the_right_second(second in 0_u64..253_402_300_799, ms in 0_u64..1_000) {
        let time = UNIX_EPOCH + Duration::from_millis(second * 1_000 + ms);
        let text = rfc3339(time);
        let http = httpdate::fmt_http_date(time); // Sun, 06 Nov 1994 08:49:37 GMT
        let parts: Vec<&str> = http.split(' ').collect();
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(parts[2]).unwrap() / 3 + 1;
        let expected = format!("{}-{month:02}-{}T{}.{ms:03}Z", parts[3], parts[1], parts[4]);
        prop_assert_eq!(text, expected);
    }
}

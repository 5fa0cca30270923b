//! One chain that always has more beside many that say little: what these wait is bounded, in bytes and in virtual time.

use std::collections::HashMap;

use longshore::config::Logs;
use proptest::prelude::*;

use super::rig::{ROOT, Rig, sink};

fn log(name: &str) -> String {
    format!("{ROOT}/ns_{name}_uid-{name}/app/0.log")
}

fn line(message: &str) -> String {
    format!("2026-01-02T03:04:05.000000000Z stdout F {message}\n")
}

fn begin(rig: &Rig, name: &str, content: &str) {
    rig.files.mkdir(log(name).trim_end_matches("/0.log"));
    rig.files.append(log(name), content);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the backlog of the loud chain, and however many small ones there are: after a small one's line is heard
    /// of, the loud one gets its share of one round, and what was sealed before it or lies in the slots; never more.
    #[test]
    fn a_small_chain_waits_for_one_round(
        small in 1..30_usize,
        rounds in 1..4_usize,
        slots in 1..5_usize,
    ) {
        const POLL_MS: u64 = 10;
        let mut config = sink("a");
        config.limits.payload_slots = slots;
        config.limits.payload_records_max = 100;
        let block = config.limits.block_bytes.max(config.limits.record_bytes_max + 8 * 1024);
        let logs = Logs { poll_active_ms: POLL_MS, poll_idle_ms: POLL_MS, ..Logs::default() };
        let mut rig = Rig::new(logs, vec![config], 1);
        // Verdicts come later than a look: what the sink is given in the meantime is what the slots hold.
        rig.places[0].sink.set(|manner| manner.latency_ms = 1);
        let loud: String = (0..12_000).map(|number| line(&format!("loud {number:060}"))).collect();
        let loud_line_bytes = loud.len() / 12_000;
        begin(&rig, "loud", &loud);
        for number in 0..small {
            begin(&rig, &format!("small-{number}"), &line("small begins"));
        }
        rig.start();
        let mut position = 0;
        for round in 0..=rounds {
            // The first round is what is there from the start.
            if round > 0 {
                position = rig.places[0].sink.lock().taken.len();
                for number in 0..small {
                    rig.files.append(log(&format!("small-{number}")), line(&format!("small {round}")));
                }
            }
            let expected = small * (round + 1);
            let done = |rig: &Rig| {
                let state = rig.places[0].sink.lock();
                let said = state.taken.iter().filter(|taken| taken.row.log_message.starts_with("small"));
                said.count() == expected
            };
            prop_assert!(rig.run_until(60_000, done), "not all small lines arrive");
            let state = rig.places[0].sink.lock();
            let since = &state.taken[position..];
            let last = since.iter().rposition(|taken| taken.row.log_message.starts_with("small")).unwrap();
            let before = since[..last].iter().filter(|taken| taken.row.log_message.starts_with("loud"));
            let loud_bytes = before.count() * loud_line_bytes;
            // One payload may leave in each millisecond until the look, and a full one is under the builder's hands.
            let under_way = (POLL_MS as usize + slots + 2) * 100 * loud_line_bytes;
            prop_assert!(
                loud_bytes <= 2 * block + under_way,
                "{loud_bytes} bytes of the loud one went before in round {round}"
            );
            prop_assert!(
                round == rounds || (expected..12_000).contains(&state.taken.len()),
                "the loud one has run dry: nothing is proven"
            );
        }
    }
}

/// Each line of a container that writes one a second is handed over a flush interval and 100 ms after it was written at
/// the latest, the first after a silence too: the time until it is found does not come on top of that.
#[test]
fn a_line_a_second_is_handed_over_within_the_flush_interval() {
    const CONTAINERS: u64 = 25;
    const SECONDS: u64 = 20;
    let mut config = sink("a");
    config.limits.flush_interval_ms = 1_000;
    let mut rig = Rig::simple(vec![config]);
    for number in 0..CONTAINERS {
        begin(&rig, &format!("quiet-{number}"), &line("begins"));
    }
    rig.start();
    rig.run_ms(3_000);
    let begun_ms = rig.clock.ms();
    let mut written_ms = HashMap::new();
    for second in 0..SECONDS {
        for number in 0..CONTAINERS {
            // At another moment of the second in each container, not in the order of their looks.
            let phase_ms = number * 387 % 1_000;
            written_ms.insert((number, second), begun_ms + second * 1_000 + phase_ms);
        }
    }
    let mut order: Vec<_> = written_ms.iter().map(|(key, at)| (*at, *key)).collect();
    order.sort_unstable();
    for (at_ms, (number, second)) in order {
        rig.run_ms(at_ms - rig.clock.ms());
        let text = line(&format!("line {number} {second}"));
        rig.files.append(log(&format!("quiet-{number}")), text);
    }
    rig.run_ms(5_000);
    let taken = rig.places[0].sink.lock().taken.clone();
    let mut found = 0;
    for taken in &taken {
        let words: Vec<&str> = taken.row.log_message.split(' ').collect();
        let ["line", number, second] = words[..] else {
            continue;
        };
        let at_ms = written_ms[&(number.parse().unwrap(), second.parse().unwrap())];
        let waited_ms = taken.at_ms - at_ms;
        assert!(
            waited_ms <= 1_100,
            "line {second} of {number} waited {waited_ms} ms"
        );
        found += 1;
    }
    assert_eq!(found, CONTAINERS * SECONDS);
}

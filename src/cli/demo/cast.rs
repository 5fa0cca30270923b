//! Who plays: the pods and containers of a small shop, and the short-lived pods that come and go.

use std::sync::Arc;

use super::kubelet::Pod;
use super::lines::Style;
use super::plan::{Pace, ROUNDS_PER_S};

/// One container of one pod, over all its restarts.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Its name.
    pub container: String,
    /// How it logs.
    pub style: Style,
    /// How much it logs.
    pub pace: Pace,
    /// After how many rounds its pod is over; `None`: it stays.
    pub life: Option<u32>,
    /// After how many rounds it crashes, every time.
    pub crash_interval: Option<u32>,
}

type Part = (&'static str, Style, Pace);

/// The pods that stay.
const RESIDENTS: [(&str, &str, &[Part]); 10] = [
    (
        "shop",
        "checkout-7d9f6c5b48-x2v9q",
        &[
            ("api", Style::Json, Pace::Busy),
            ("proxy", Style::Logfmt, Pace::Steady),
        ],
    ),
    (
        "shop",
        "checkout-7d9f6c5b48-kk4tz",
        &[
            ("api", Style::Json, Pace::Busy),
            ("proxy", Style::Logfmt, Pace::Steady),
        ],
    ),
    (
        "shop",
        "cart-5c6b7d8f9-w8m2n",
        &[
            ("api", Style::Json, Pace::Steady),
            ("proxy", Style::Logfmt, Pace::Steady),
            ("cache", Style::Plain, Pace::Quiet),
        ],
    ),
    (
        "shop",
        "payments-6f7d9c8b5-qj7rd",
        &[
            ("api", Style::Traces, Pace::Steady),
            ("proxy", Style::Logfmt, Pace::Steady),
            ("audit", Style::Json, Pace::Busy),
        ],
    ),
    (
        "shop",
        "search-849d5f7c6-h5b8l",
        &[
            ("server", Style::Plain, Pace::Busy),
            ("indexer", Style::Traces, Pace::Steady),
        ],
    ),
    (
        "data",
        "ledger-0",
        &[
            ("database", Style::Plain, Pace::Busy),
            ("backup", Style::Plain, Pace::Quiet),
            ("exporter", Style::Logfmt, Pace::Quiet),
        ],
    ),
    (
        "data",
        "queue-0",
        &[
            ("broker", Style::Traces, Pace::Busy),
            ("exporter", Style::Logfmt, Pace::Quiet),
        ],
    ),
    (
        "media",
        "resizer-5d4c8b9f7-zz2xk",
        &[
            ("worker", Style::Binary, Pace::Steady),
            ("uploader", Style::Json, Pace::Steady),
        ],
    ),
    (
        "kube-system",
        "dns-6d4b75cb6d-p9s4f",
        &[
            ("dns", Style::Plain, Pace::Quiet),
            ("metrics", Style::Klog, Pace::Quiet),
        ],
    ),
    (
        "kube-system",
        "controller-f8d7c6b5-t6g3w",
        &[
            ("manager", Style::Klog, Pace::Steady),
            ("scheduler", Style::Klog, Pace::Steady),
            ("webhook", Style::Traces, Pace::Steady),
        ],
    ),
];
/// The one that crashes again and again.
const CRASHING: (&str, u32) = ("webhook", 2 * ROUNDS_PER_S);

/// The containers that stay, and in how many pods.
pub fn residents(rng: &mut fastrand::Rng) -> (Vec<Role>, u64) {
    let mut roles = Vec::new();
    for (namespace, name, parts) in RESIDENTS {
        let pod = Arc::new(Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid(rng),
        });
        roles.extend(parts.iter().map(|(container, style, pace)| Role {
            pod: Arc::clone(&pod),
            container: (*container).to_owned(),
            style: *style,
            pace: *pace,
            life: None,
            crash_interval: (*container == CRASHING.0).then_some(CRASHING.1),
        }));
    }
    (roles, RESIDENTS.len() as u64)
}

/// A pod that runs for 0.2 to 1.5 s.
pub fn visitor(rng: &mut fastrand::Rng, number: u64) -> Role {
    let styles = [Style::Json, Style::Plain, Style::Logfmt, Style::Traces];
    Role {
        pod: Arc::new(Pod {
            namespace: "batch".to_owned(),
            name: format!("report-{number}-{}", hex(rng, 5)),
            uid: uid(rng),
        }),
        container: "job".to_owned(),
        style: styles[rng.usize(..styles.len())],
        pace: Pace::Steady,
        life: Some(rng.u32(ROUNDS_PER_S / 5..ROUNDS_PER_S * 3 / 2)),
        crash_interval: None,
    }
}

/// Random hexadecimal digits.
pub fn hex(rng: &mut fastrand::Rng, digits: usize) -> String {
    (0..digits)
        .map(|_| rng.digit(16).to_ascii_lowercase())
        .collect()
}

fn uid(rng: &mut fastrand::Rng) -> String {
    let [a, b, c, d, e] = [8, 4, 3, 3, 12].map(|digits| hex(rng, digits));
    format!("{a}-{b}-4{c}-8{d}-{e}")
}

use proptest::prelude::*;

use super::*;
use crate::config::pattern::Pattern;

fn target() -> Scrape {
    Scrape::new("http://10.0.0.1:9100/metrics".to_owned())
}

/// Series as lines, in the order of the page.
fn lines(scraped: &Scraped) -> Vec<String> {
    let mut lines = Vec::new();
    for family in &scraped.families {
        for series in &family.series {
            let labels = series.labels.iter();
            let labels: Vec<String> = labels.map(|(k, v)| format!("{k}={v:?}")).collect();
            let labels = labels.join(",");
            lines.push(format!("{}{{{labels}}} {}", family.spec.name, series.value));
        }
    }
    lines
}

#[test]
fn a_page_is_read_with_its_kinds_and_units() {
    let page = "\
# HELP http_requests_total The total.
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000
http_requests_total{method=\"post\", code=\"400\", }    3

# A comment.
msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot\\nfind \\\"x\\\" \\q\"} 1.458255915e9
# TYPE rpc_seconds histogram
rpc_seconds_bucket{le=\"+Inf\"} +Inf
rpc_seconds_sum -Inf
rpc_seconds_count NaN\r
temperature 0x10
# TYPE size_bytes gauge
\tsize_bytes\t{ } 5
";
    let scraped = read(page.as_bytes(), &target());
    assert_eq!(
        lines(&scraped),
        [
            "http_requests_total{method=\"post\",code=\"200\"} 1027",
            "http_requests_total{method=\"post\",code=\"400\"} 3",
            "msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot\\nfind \\\"x\\\" \\\\q\"} 1458255915",
            "rpc_seconds_bucket{le=\"+Inf\"} inf",
            "rpc_seconds_sum{} -inf",
            "rpc_seconds_count{} NaN",
            "size_bytes{} 5",
        ]
    );
    assert_eq!((scraped.samples, scraped.malformed), (7, 1));
    let spec = |name: &str| {
        let mut families = scraped.families.iter();
        let family = families.find(|family| family.spec.name == name).unwrap();
        (family.spec.kind, family.spec.unit)
    };
    assert_eq!(spec("http_requests_total"), (Kind::Counter, Unit::One));
    assert_eq!(spec("rpc_seconds_bucket"), (Kind::Counter, Unit::One));
    assert_eq!(
        spec("msdos_file_access_time_seconds"),
        (Kind::Untyped, Unit::Seconds)
    );
    assert_eq!(spec("size_bytes"), (Kind::Gauge, Unit::Bytes));
    assert_eq!(scraped.families[0].spec.help, "The total.");
}

#[test]
fn what_is_malformed_is_counted_and_the_rest_is_read() {
    let bad = [
        "a",
        "a ",
        "1a 1",
        "a{ 1",
        "a{b} 1",
        "a{b=\"1} 1",
        "a{b=\"1\"c=\"2\"} 1",
        "a{b=\"1\",b=\"2\"} 1",
        "a{b-c=\"1\"} 1",
        "a{b=1} 1",
        "a 1 2 3",
        "a 1 x",
        "a one",
        "\u{e9} 1",
    ];
    for line in bad {
        let scraped = read(format!("{line}\ngood 1\n").as_bytes(), &target());
        assert_eq!(lines(&scraped), ["good{} 1"], "{line}");
        assert_eq!(scraped.malformed, 1, "{line}");
    }
    let long = format!("a{{b=\"{}\"}} 1\n", "x".repeat(LINE_BYTES_MAX));
    assert_eq!(read(long.as_bytes(), &target()).malformed, 1);
}

#[test]
fn only_what_is_wanted_is_taken_and_the_target_s_labels_win() {
    let mut config = target();
    config.keep = vec![Pattern::whole("go_.*|up").unwrap()];
    config.drop = vec![Pattern::whole("go_gc.*").unwrap()];
    config.series_max = 2;
    let page = "go_gc_x 1\ngo_y{job=\"a\",x=\"b\"} 1\nother 1\nup 1\ngo_z 1\n";
    let scraped = read(page.as_bytes(), &config);
    assert_eq!(
        lines(&scraped),
        ["go_y{exported_job=\"a\",x=\"b\"} 1", "up{} 1"]
    );
    assert_eq!((scraped.samples, scraped.malformed), (5, 1));
}

proptest! {
    /// Whatever a target sends: no panic, no more series than allowed, only names that may be sent on.
    #[test]
    fn any_bytes_can_be_read(page in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let config = Scrape { series_max: 5, ..target() };
        check(&read(&page, &config))?;
    }

    /// The same for what looks like a page.
    #[test]
    fn almost_pages_can_be_read(page in "([a-c#{}=\", \\\\n1.\u{e9}\t\n]|TYPE |HELP |a 1\n|a\\{b=\"c\"\\} 1\n){0,80}") {
        let config = Scrape { series_max: 5, ..target() };
        check(&read(page.as_bytes(), &config))?;
    }

    /// What is written with every escape is read back.
    #[test]
    fn labels_survive(value in "\\PC{0,40}", number in any::<f64>()) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let scraped = read(format!("a{{b=\"{escaped}\"}} {number:?}\n").as_bytes(), &target());
        let series = &scraped.families[0].series[0];
        prop_assert_eq!(&series.labels[0].1, &value);
        prop_assert!(series.value == number || number.is_nan() && series.value.is_nan());
    }
}

fn check(scraped: &Scraped) -> Result<(), TestCaseError> {
    let series = scraped.families.iter().map(|family| family.series.len());
    prop_assert!(series.sum::<usize>() <= 5);
    for family in &scraped.families {
        prop_assert!(is_name(&family.spec.name, true));
        for series in &family.series {
            prop_assert!(series.labels.iter().all(|(name, _)| is_name(name, false)));
        }
    }
    Ok(())
}

//! What others on the own node show, and what of it is taken.

use super::HttpSink;
use super::pattern::Pattern;

/// One target of [`super::metrics::Metrics::scrape`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Where from and how.
    pub http: HttpSink,
    /// How often.
    pub interval_ms: u64,
    /// If there are any: only families whose whole name one of these matches.
    pub keep: Vec<Pattern>,
    /// Not the families whose whole name one of these matches.
    pub drop: Vec<Pattern>,
    /// Labels of all its series; `None`: a default one is left out.
    pub labels: Vec<(String, Option<String>)>,
    /// Most series that are taken.
    pub series_max: usize,
}

impl Scrape {
    /// A target with the defaults.
    pub fn new(url: String) -> Scrape {
        let mut http = HttpSink::new(String::new());
        http.request_timeout_ms = 10_000;
        let mut scrape = Scrape {
            http,
            interval_ms: 15_000,
            keep: Vec::new(),
            drop: Vec::new(),
            labels: Vec::new(),
            series_max: 10_000,
        };
        scrape.set_url(url);
        scrape
    }

    /// Another URL, and the default labels that go with it.
    pub fn set_url(&mut self, url: String) {
        let uri = url.parse::<hyper::Uri>().unwrap_or_default();
        let instance = uri
            .authority()
            .map(|authority| authority.as_str().to_owned());
        self.labels = vec![
            ("instance".to_owned(), instance),
            ("job".to_owned(), Some("scrape".to_owned())),
        ];
        self.http.url = url;
    }

    /// The labels of the target.
    pub fn target_labels(&self) -> Vec<(String, String)> {
        let labels = self.labels.iter();
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        labels.collect()
    }

    /// Whether a family is taken.
    pub fn wants(&self, family: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(family));
        (self.keep.is_empty() || any(&self.keep)) && !any(&self.drop)
    }
}

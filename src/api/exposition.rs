//! Writer of Prometheus' text format, version 0.0.4, which every scraper and linter reads.

use std::fmt::{Display, Write};

use tricast_core::counters::Histogram;

/// Media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Page of metrics. Names get the prefix `tricast_`.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// Label names with their values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

// Writing to a String cannot fail, so the results are dropped.
impl Page {
    /// Writes the head of a family; its samples follow.
    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.text, "# HELP tricast_{name} {help}\n# TYPE tricast_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let _ = write!(self.text, "tricast_{name}");
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Writes a gauge with a single sample.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauges(name, help, [(&[][..], value)]);
    }

    /// Writes a gauge with labels.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, impl Display)>,
    ) {
        self.family(name, help, "gauge");
        samples.into_iter().for_each(|(labels, value)| self.sample(name, labels, value));
    }

    /// Writes a counter with a single sample; `name` ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(&[][..], value)]);
    }

    /// Writes a counter with labels.
    pub fn counters<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, u64)>) {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, "counter");
        samples.into_iter().for_each(|(labels, value)| self.sample(name, labels, value));
    }

    /// Writes histograms of latencies; `name` ends in `_seconds`.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        latencies: impl IntoIterator<Item = (Option<(&'a str, &'a str)>, &'a Histogram)>,
    ) {
        debug_assert!(name.ends_with("_seconds"), "{name}");
        self.family(name, help, "histogram");
        for (label, latency) in latencies {
            let (sum, count, buckets) = latency.read();
            let labels: Vec<_> = label.into_iter().collect();
            let mut below = 0;
            for (bound, in_bucket) in buckets {
                below += in_bucket;
                let bound = if bound == f64::MAX { "+Inf".to_owned() } else { bound.to_string() };
                let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                self.sample(&format!("{name}_bucket"), &with_bound, below);
            }
            self.sample(&format!("{name}_sum"), &labels, sum);
            self.sample(&format!("{name}_count"), &labels, count);
        }
    }

    /// Returns the text of the page.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_has_help_type_and_escaped_labels() {
        let mut page = Page::default();
        page.gauge("up", "It is up", 1);
        page.counters("hits_total", "Hits", [(&[("path", "a\"b\\c\nd"), ("x", "y")][..], 7)]);
        assert_eq!(
            page.finish(),
            "# HELP tricast_up It is up\n# TYPE tricast_up gauge\ntricast_up 1\n\
             # HELP tricast_hits_total Hits\n# TYPE tricast_hits_total counter\n\
             tricast_hits_total{path=\"a\\\"b\\\\c\\nd\",x=\"y\"} 7\n"
        );
    }

    #[test]
    fn buckets_are_cumulative() {
        let latency = Histogram::default();
        latency.observe(Duration::from_micros(50), 2);
        latency.observe(Duration::from_secs(9), 1);
        let mut page = Page::default();
        page.histograms("wait_seconds", "Waits", [(Some(("by", "x")), &latency)]);
        let page = page.finish();
        assert!(page.contains("tricast_wait_seconds_bucket{by=\"x\",le=\"0.0001\"} 2\n"), "{page}");
        assert!(page.contains("le=\"5\"} 2\n") && page.contains("le=\"+Inf\"} 3\n"), "{page}");
        assert!(page.contains("tricast_wait_seconds_count{by=\"x\"} 3\n"), "{page}");
    }
}

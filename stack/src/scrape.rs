//! Reads a service's `/metrics` and the runbook's table of metrics. The services' tests compare the two.

use std::collections::{BTreeMap, BTreeSet};

use crate::place;

#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus calls it: `counter`, `gauge` or `histogram`.
    pub kind: String,
    pub labels: BTreeSet<String>,
    pub has_help: bool,
}

/// Each metric by its name.
pub type Metrics = BTreeMap<String, Metric>;

/// What `text`, in Prometheus' format, has. Labels are known by their samples.
pub fn scraped(text: &str) -> Metrics {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metric = |(name, kind): (&str, &str)| {
        let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let samples = endings.iter().flat_map(|ending| samples(text, format!("{name}{ending}")));
        let labels = samples.flat_map(|(labels, _)| labels.split(','));
        let labels = labels.filter_map(|label| label.split_once('=')).map(|(label, _)| label);
        let labels = labels.filter(|label| *label != "le").map(str::to_owned).collect();
        let has_help = text.contains(&format!("# HELP {name} "));
        (name.to_owned(), Metric { kind: kind.to_owned(), labels, has_help })
    };
    types.map(metric).collect()
}

/// The sum of a metric's samples, whatever their labels. Of a histogram, `name` ends in `_count` or `_sum`.
pub fn value(text: &str, name: &str) -> f64 {
    samples(text, name.to_owned()).filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

/// Labels and value of each.
fn samples(text: &str, name: String) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(move |line| {
        let (labelled, value) = line.strip_prefix(&name)?.rsplit_once(' ')?;
        let labels = labelled.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
        (labelled.is_empty() || labels.is_some()).then_some((labels.unwrap_or_default(), value))
    })
}

/// What the table in `docs/operations.md` has with this prefix: `orders`, `bonus`, or what bonus publishes, `customers`.
pub fn described(prefix: &str) -> std::io::Result<Metrics> {
    let text = std::fs::read_to_string(place::repository().join("docs/operations.md"))?;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        name.strip_prefix(prefix)?.strip_prefix('_')?;
        let kind = cells.next()?.to_owned();
        let labels = cells.next()?.split(['`', ',', ' ']).filter(|label| !label.is_empty());
        Some((name, Metric { kind, labels: labels.map(str::to_owned).collect(), has_help: true }))
    };
    Ok(text.lines().filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total It\n# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"2\",y=\"2\"} 4\n\
                        # TYPE b histogram\nb_bucket{z=\"1\",le=\"+Inf\"} 5\nb_count{z=\"1\"} 5\n\
                        # TYPE a_total_more gauge\na_total_more 9\n";

    #[test]
    fn a_scrape_is_read() {
        let metric = |kind: &str, labels: &[&str], has_help| Metric {
            kind: kind.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            has_help,
        };
        let expected = [
            ("a_total".to_owned(), metric("counter", &["x", "y"], true)),
            ("a_total_more".to_owned(), metric("gauge", &[], false)),
            ("b".to_owned(), metric("histogram", &["z"], false)),
        ];
        assert_eq!(scraped(TEXT), Metrics::from(expected));
        let values = ["a_total", "a_total_more", "b_count", "b"].map(|name| value(TEXT, name) as i64);
        assert_eq!(values, [7, 9, 5, 0]);
    }
}

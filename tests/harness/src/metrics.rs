//! The collector's own metrics, as an operator's Prometheus reads them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Parses the text format.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(samples.filter_map(sample).collect())
    }

    /// Returns the samples of one metric that have all these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            // The Collector's counters come with or without the suffix, depending on the reader's
            // settings.
            let named = sample.name == name || sample.name.strip_suffix("_total") == Some(name);
            let labelled = labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value));
            named && labelled
        })
    }

    /// Returns the sum of one metric over all samples that have these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum: f64 = self.select(name, labels).map(|sample| sample.value).sum();
        // Counts of items in a test are far below 2^53, where f64 is exact.
        format!("{sum:.0}").parse().unwrap_or_default()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    // No label value of the collector contains a quote followed by a comma.
    let labels = labels
        .split("\",")
        .filter_map(|pair| {
            let (key, value) = pair.split_once("=\"")?;
            Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
        })
        .collect();
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// Sends an HTTP GET. Returns the status code and the body.
///
/// # Errors
/// Returns an error if there is no HTTP answer.
pub async fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{address}{path} answered {answer:?}"))?;
    let status = head.split(' ').nth(1).context("no status line")?.parse()?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    ensure!(!chunked, "{address}{path} answered in chunks");
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text format is parsed: names with and without suffix, labels, sums.
    #[test]
    fn the_text_format_is_read() {
        let metrics = Metrics::parse(concat!(
            "# TYPE a counter\n",
            "a_total{stage=\"one, two\",reason=\"x\"} 3\n",
            "a_total{stage=\"other\",reason=\"y\"} 4\n",
            "b 2.5\n",
            "# EOF\n",
        ));
        assert_eq!(metrics.sum("a", &[]), 7);
        assert_eq!(metrics.sum("a_total", &[("stage", "one, two")]), 3);
        assert_eq!(metrics.sum("a_total", &[("stage", "none")]), 0);
        assert_eq!(metrics.select("b", &[]).count(), 1);
    }
}

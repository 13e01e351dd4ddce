//! What a run measured, and how it is told.

use crate::connect::{Done, Failure};
use crate::output::{Json, Output, show, table};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Latencies from one microsecond to one minute, at three digits, in nanoseconds.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// What one connection measured.
pub(super) struct Tally {
    pub(super) records: u64,
    /// Bytes of batches, as sent or received.
    pub(super) bytes: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) latency: Histogram<u64>,
    /// What went wrong first.
    pub(super) complaint: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Done<Self> {
        let latency = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS);
        let latency = latency.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { records: 0, bytes: 0, requests: 0, errors: 0, latency, complaint: None })
    }

    /// Notes a latency; what lies outside the bounds counts as the bound.
    pub(super) fn note(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST);
        self.latency.saturating_record(nanos.clamp(SHORTEST, LONGEST));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.errors += other.errors;
        // Both have the same bounds, so this cannot fail.
        let _same_bounds = self.latency.add(&other.latency);
        if self.complaint.is_none() {
            self.complaint.clone_from(&other.complaint);
        }
    }

    pub(super) fn complain(&mut self, what: String) {
        self.errors += 1;
        self.complaint.get_or_insert(what);
    }
}

/// A finished run.
pub(super) struct Report {
    pub(super) mode: &'static str,
    pub(super) topic: String,
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    /// What was asked for, for those who read the figures later.
    pub(super) settings: Vec<(&'static str, Json)>,
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];

impl Report {
    /// Prints the report; fails if nothing worked.
    pub(super) fn show(&self, output: Output) -> Done {
        show(output, || self.text(), || self.json())?;
        match &self.tally.complaint {
            Some(complaint) => {
                Err(Failure::failed(format!("{} requests failed: {complaint}", self.tally.errors)))
            }
            None if self.tally.records == 0 => Err(Failure::failed("nothing was measured")),
            None => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people; 53 bits are enough")]
    fn rates(&self) -> (f64, f64) {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        (self.tally.records as f64 / seconds, self.tally.bytes as f64 / seconds / 1e6)
    }

    fn text(&self) -> String {
        let (records, megabytes) = self.rates();
        let row = vec![
            self.mode.to_owned(),
            format!("{:.2} s", self.elapsed.as_secs_f64()),
            self.tally.records.to_string(),
            format!("{records:.0}"),
            format!("{megabytes:.1}"),
            self.tally.requests.to_string(),
            self.tally.errors.to_string(),
        ];
        let rates = table(&["mode", "time", "records", "records/s", "MB/s", "requests", "errors"], [row]);
        if self.tally.latency.is_empty() {
            return rates;
        }
        let mut columns = QUANTILES.map(|(name, _)| name).to_vec();
        columns.extend(["max", "mean"]);
        let mut row: Vec<_> = QUANTILES.iter().map(|(_, q)| millis(self.at(*q))).collect();
        row.extend([millis(self.max()), millis(self.tally.latency.mean() / 1e3)]);
        format!("{rates}\n\nlatency in milliseconds\n{}", table(&columns, [row]))
    }

    /// A quantile in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a minute in nanoseconds fits 53 bits")]
    fn at(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    #[expect(clippy::cast_precision_loss, reason = "a minute in nanoseconds fits 53 bits")]
    fn max(&self) -> f64 {
        self.tally.latency.max() as f64 / 1e3
    }

    fn json(&self) -> Json {
        let (records, megabytes) = self.rates();
        let mut fields = vec![
            ("mode", self.mode.into()),
            ("topic", self.topic.as_str().into()),
            ("seconds", self.elapsed.as_secs_f64().into()),
            ("records", self.tally.records.into()),
            ("bytes", self.tally.bytes.into()),
            ("requests", self.tally.requests.into()),
            ("errors", self.tally.errors.into()),
            ("records_per_second", records.into()),
            ("megabytes_per_second", megabytes.into()),
        ];
        let mut latency: Vec<_> = QUANTILES.iter().map(|(name, q)| (*name, self.at(*q).into())).collect();
        latency.extend([("max", self.max().into()), ("mean", (self.tally.latency.mean() / 1e3).into())]);
        let latency = if self.tally.latency.is_empty() { Json::Null } else { Json::Object(latency) };
        fields.push(("latency_microseconds", latency));
        fields.push(("settings", Json::Object(self.settings.clone())));
        Json::Object(fields)
    }
}

fn millis(micros: f64) -> String {
    format!("{:.3}", micros / 1e3)
}

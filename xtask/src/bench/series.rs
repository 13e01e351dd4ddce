//! What was measured, block by block, and how two sides compare.

use std::collections::BTreeMap;

/// Figures of one measurement by name.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// A row's measurements: one sample per side and block.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// In the order in which the row names them.
    pub(crate) sides: Vec<(&'static str, Vec<Sample>)>,
    /// Blocks that were thrown away because the machine was not itself.
    pub(crate) void: usize,
}

/// A median and what lies around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// From so many blocks on the interval of the median is drawn from resampled blocks; below, it is the range.
const RESAMPLED_BLOCKS_MIN: usize = 5;
const RESAMPLES: usize = 2_000;

impl Series {
    /// Adds a block.
    pub(crate) fn push(&mut self, block: Vec<(&'static str, Sample)>) {
        for (label, sample) in block {
            match self.sides.iter_mut().find(|(known, _)| *known == label) {
                Some((_, samples)) => samples.push(sample),
                None => self.sides.push((label, vec![sample])),
            }
        }
    }

    fn values(&self, label: &str, metric: &str) -> Vec<f64> {
        let samples = self.sides.iter().find(|(known, _)| *known == label);
        samples.into_iter().flat_map(|(_, samples)| samples).filter_map(|s| s.get(metric).copied()).collect()
    }

    /// A side's figure.
    pub(crate) fn spread(&self, label: &str, metric: &str) -> Option<Spread> {
        spread(self.values(label, metric))
    }

    /// How many times a side's figure is another's, block by block.
    pub(crate) fn ratio(&self, (over, metric): (&str, &str), (under, of): (&str, &str)) -> Option<Spread> {
        let pairs = self.values(over, metric).into_iter().zip(self.values(under, of));
        spread(pairs.map(|(over, under)| over / under).filter(|ratio| ratio.is_finite()).collect())
    }
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let median = median(&values);
    if values.len() < RESAMPLED_BLOCKS_MIN {
        return Some(Spread { median, low, high });
    }
    let (low, high) = interval(&values);
    Some(Spread { median, low, high })
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The 95 % interval of the median, from blocks drawn again and again.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[usize::try_from(state % values.len() as u64).unwrap_or(0)]
    };
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut drawn: Vec<f64> = values.iter().map(|_| draw()).collect();
            drawn.sort_by(f64::total_cmp);
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(ours: &[f64], kafka: &[f64]) -> Series {
        let mut series = Series::default();
        for (ours, kafka) in ours.iter().zip(kafka) {
            let sample = |value: &f64| Sample::from([("cpu", *value)]);
            series.push(vec![("ours", sample(ours)), ("kafka", sample(kafka))]);
        }
        series
    }

    #[test]
    fn a_ratio_pairs_what_was_measured_together() {
        let few = series(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]);
        let ratio = few.ratio(("ours", "cpu"), ("kafka", "cpu")).unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.25, 0.5, 0.75));
    }

    #[test]
    fn the_interval_of_many_blocks_leaves_a_stray_one_out() {
        let many = series(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0], &[1.0; 7]);
        let spread = many.spread("ours", "cpu").unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 1.0, 1.0));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert!(series(&[], &[]).spread("ours", "cpu").is_none());
    }
}

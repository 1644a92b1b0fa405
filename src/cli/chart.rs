//! Numbers over time as text: sparklines, and charts of block characters. Pure.

use std::collections::VecDeque;

/// Points that are kept for each field.
const KEPT: usize = 1_000;

/// Columns of an eighth to a whole of their height.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Numbers of one field with their times, in seconds of any clock; the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<(f64, f64)>);

impl Series {
    /// Adds a number. The oldest one is dropped beyond the limit.
    pub(super) fn push(&mut self, time: f64, number: f64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((time, number));
    }

    /// Returns the mean of each of `columns` equal parts of the last `span` seconds. A part without a number has the one before it, as
    /// the value did not change.
    pub(super) fn columns(&self, now: f64, span: f64, columns: usize) -> Vec<Option<f64>> {
        let start = now - span;
        let mut sums = vec![(0.0, 0.0); columns];
        let mut before = None;
        for &(time, number) in &self.0 {
            if time < start {
                before = Some(number);
                continue;
            }
            let column = ((time - start) / span * columns as f64) as usize;
            let (sum, count) = &mut sums[column.min(columns - 1)];
            (*sum, *count) = (*sum + number, *count + 1.0);
        }
        let mut last = before;
        let mean = |(sum, count): (f64, f64)| {
            last = if count > 0.0 { Some(sum / count) } else { last };
            last
        };
        sums.into_iter().map(mean).collect()
    }
}

/// Returns the smallest and the largest number.
fn range(columns: &[Option<f64>]) -> Option<(f64, f64)> {
    columns.iter().flatten().fold(None, |range, &number| match range {
        None => Some((number, number)),
        Some((low, high)) => Some((number.min(low), number.max(high))),
    })
}

/// Returns one line of blocks, between the smallest and the largest number.
pub(super) fn sparkline(columns: &[Option<f64>]) -> String {
    let Some((low, high)) = range(columns) else { return " ".repeat(columns.len()) };
    let block = |number: &Option<f64>| match number {
        None => ' ',
        // What does not change is a flat line.
        Some(_) if high <= low => BLOCKS[3],
        Some(number) => BLOCKS[(((number - low) / (high - low) * 7.0).round() as usize).min(7)],
    };
    columns.iter().map(block).collect()
}

/// Returns a chart: `height` lines with their scale on the left, the highest first. `width` includes the scale.
pub(super) fn chart(series: &Series, now: f64, span: f64, width: usize, height: usize) -> Vec<String> {
    const SCALE: usize = 10;
    let columns = series.columns(now, span, width.saturating_sub(SCALE + 1).max(1));
    let Some((low, high)) = range(&columns) else { return vec![format!("{:>SCALE$} │", "no data")] };
    // The line of a value that does not change is in the middle.
    let (low, high) = if high > low { (low, high) } else { (low - 1.0, high + 1.0) };
    let eighths = |number: f64| ((number - low) / (high - low) * (height * 8 - 1) as f64).round() as usize + 1;
    let line = |row: usize| {
        let below = (height - 1 - row) * 8;
        let scale = match row {
            0 => number(high),
            row if row == height - 1 => number(low),
            _ => String::new(),
        };
        let block = |column: &Option<f64>| match column.map(eighths) {
            Some(filled) if filled > below => BLOCKS[(filled - below).min(8) - 1],
            _ => ' ',
        };
        let blocks: String = columns.iter().map(block).collect();
        format!("{scale:>SCALE$}│{}", blocks.trim_end())
    };
    (0..height.max(1)).map(line).collect()
}

/// Writes a number with six digits at most.
pub(super) fn number(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return format!("{number:.3e}");
    }
    let decimals = if size >= 1e5 { 0 } else { 5 - (size.max(1.0).log10().floor() as usize).min(5) };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        let mut series = Series::default();
        points.iter().for_each(|&(time, number)| series.push(time, number));
        series
    }

    #[test]
    fn columns_are_means_and_continue_the_last_number() {
        let series = series(&[(-5.0, 9.0), (1.0, 1.0), (1.5, 3.0), (6.0, 8.0)]);
        let columns = series.columns(10.0, 10.0, 5);
        assert_eq!(columns, [Some(2.0), Some(2.0), Some(2.0), Some(8.0), Some(8.0)]);
        let columns = series.columns(4.0, 4.0, 4);
        assert_eq!(columns[..2], [Some(9.0), Some(2.0)]);
        assert_eq!(Series::default().columns(4.0, 4.0, 2), [None, None]);
    }

    #[test]
    fn a_sparkline_goes_from_the_smallest_to_the_largest() {
        assert_eq!(sparkline(&[None, Some(0.0), Some(3.5), Some(7.0)]), " ▁▅█");
        assert_eq!(sparkline(&[Some(2.0), Some(2.0)]), "▄▄");
    }

    #[test]
    fn a_chart_has_a_scale() {
        let lines = chart(&series(&[(1.0, 0.0), (3.0, 10.0)]), 4.0, 4.0, 15, 2);
        assert_eq!(lines, ["        10│   █", "         0│ ▁▁█"]);
        assert_eq!(chart(&Series::default(), 4.0, 4.0, 15, 2), ["   no data │"]);
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (1.0 / 3.0, "0.33333"),
            (123_456.789, "123457"),
            (-2.50, "-2.5"),
            (1.5e12, "1.500e12"),
            (100_000.0, "100000"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}

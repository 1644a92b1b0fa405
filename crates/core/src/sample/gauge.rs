//! Gauges: the last level, and its range.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    COMPUTED, EXACT, number_or_null,
    window::{Moment, Window},
};

/// `{"type":"gauge","last":..,"min":..,"max":..,"avg":..,"today":{"min":..,"max":..,"avg":..}}`
///
/// `last` stays when the window is empty; the others are `null` then.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Gauge {
    last: Option<f64>,
    pub(super) window: Window<Span>,
    pub(super) today: Span,
}

/// Range of a level in some time. The average is that of the samples, not of time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Span {
    /// Smallest and largest level.
    range: Option<(f64, f64)>,
    sum: f64,
    count: u64,
}

impl Span {
    fn add(&mut self, value: f64) {
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        self.sum += value;
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.range = match (self.range, other.range) {
            (Some((low, high)), Some((other_low, other_high))) => Some((low.min(other_low), high.max(other_high))),
            (mine, others) => mine.or(others),
        };
        self.sum += other.sum;
        self.count += other.count;
    }

    fn min(&self) -> Value {
        number_or_null(self.range.map(|(low, _)| low), EXACT)
    }

    fn max(&self) -> Value {
        number_or_null(self.range.map(|(_, high)| high), EXACT)
    }

    fn avg(&self) -> Value {
        let average = |(low, high): (f64, f64)| (self.sum / self.count as f64).clamp(low, high);
        number_or_null(self.range.map(average), COMPUTED)
    }
}

impl Gauge {
    /// Longest text of [`Gauge::read`] without its numbers, and the number of these.
    pub(super) const LENGTH: (usize, usize) = (80, 7);

    pub(super) fn add(&mut self, value: f64, moment: Moment) {
        self.last = Some(value);
        self.window.add(moment.second(), |span| span.add(value));
        self.today.add(value);
    }

    /// Returns its memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.heap_bytes(|_| 0)
    }

    pub(super) fn read(&self, moment: Moment) -> Value {
        let mut window = Span::default();
        self.window.at(moment.second()).for_each(|(_, span)| window.merge(span));
        json!({
            "type": "gauge",
            "last": number_or_null(self.last, EXACT),
            "min": window.min(),
            "max": window.max(),
            "avg": window.avg(),
            "today": {"min": self.today.min(), "max": self.today.max(), "avg": self.today.avg()},
        })
    }
}

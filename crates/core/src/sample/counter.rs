//! Counters: sums of increments.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    COMPUTED, number,
    window::{Moment, WINDOW_SECONDS, Window},
};

/// `{"type":"counter","total":..,"rate":..,"today":{"total":..}}`
///
/// `total` is since the first sample in this process, `rate` per second over the window.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Counter {
    total: Sum,
    pub(super) window: Window<Sum>,
    pub(super) today: Sum,
}

/// Sum that does not lose small increments to a large total (Neumaier's summation).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }

    pub(super) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

impl Counter {
    /// Longest text of [`Counter::read`] without its numbers, and the number of these.
    pub(super) const LENGTH: (usize, usize) = (60, 3);

    pub(super) fn add(&mut self, increment: f64, moment: Moment) {
        self.total.add(increment);
        self.window.add(moment.second(), |sum| sum.add(increment));
        self.today.add(increment);
    }

    /// Returns its memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.heap_bytes(|_| 0)
    }

    pub(super) fn read(&self, moment: Moment) -> Value {
        let mut window = Sum::default();
        for (age, sum) in self.window.at(moment.second()) {
            // Of the oldest second only the part within the last ten seconds counts; otherwise a steady rate would rise
            // by a tenth within each second and fall back at its end.
            let part = if age == WINDOW_SECONDS { f64::from(10 - moment.tenths().min(10)) / 10.0 } else { 1.0 };
            window.add(sum.value() * part);
        }
        json!({
            "type": "counter",
            "total": number(self.total.value(), COMPUTED),
            "rate": number(window.value() / WINDOW_SECONDS as f64, COMPUTED),
            "today": {"total": number(self.today.value(), COMPUTED)},
        })
    }
}

//! Data of a series, by its type.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Measured, SampleKind, counter::Counter, distinct::Set, gauge::Gauge, timing::Timing, window::Moment};

/// Longest text of a number: a sign, 17 digits, a point, four zeros or an exponent, and some room.
const MAX_NUMBER_BYTES: usize = 26;

/// Figures of one series.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Measure {
    /// Levels, such as a queue length: the newest value counts.
    Gauge(Box<Gauge>),
    /// Increments, which are added up.
    Counter(Box<Counter>),
    /// Durations, of which percentiles are computed.
    Timing(Box<Timing>),
    /// Members of a set.
    Set(Box<Set>),
}

impl Measure {
    /// Creates the data of a series of type `kind` without samples.
    pub(super) fn new(kind: SampleKind) -> Self {
        match kind {
            SampleKind::Gauge => Self::Gauge(Box::default()),
            SampleKind::Counter => Self::Counter(Box::default()),
            SampleKind::Timing => Self::Timing(Box::default()),
            SampleKind::Set => Self::Set(Box::default()),
        }
    }

    /// Returns the type of the series.
    pub(super) fn kind(&self) -> SampleKind {
        match self {
            Self::Gauge(_) => SampleKind::Gauge,
            Self::Counter(_) => SampleKind::Counter,
            Self::Timing(_) => SampleKind::Timing,
            Self::Set(_) => SampleKind::Set,
        }
    }

    /// Returns the largest length of the JSON of [`Measure::read`].
    pub(super) fn max_bytes(kind: SampleKind) -> usize {
        let (text, numbers) = match kind {
            SampleKind::Gauge => Gauge::LENGTH,
            SampleKind::Counter => Counter::LENGTH,
            SampleKind::Timing => Timing::LENGTH,
            SampleKind::Set => Set::LENGTH,
        };
        text + numbers * MAX_NUMBER_BYTES
    }

    /// Adds a sample of its type; samples of other types are ignored.
    pub(super) fn add(&mut self, measured: Measured, moment: Moment) {
        match (self, measured) {
            (Self::Gauge(gauge), Measured::Number(value)) => gauge.add(value, moment),
            (Self::Counter(counter), Measured::Number(value)) => counter.add(value, moment),
            (Self::Timing(timing), Measured::Number(value)) => timing.add(value, moment),
            (Self::Set(set), Measured::Member(member)) => set.add(member, moment),
            _ => {}
        }
    }

    /// Drops data outside of the window; returns whether some are left.
    pub(super) fn forget(&mut self, moment: Moment) -> bool {
        let second = moment.second();
        macro_rules! forget {
            ($of:expr) => {{
                $of.window.forget(second);
                !$of.window.is_empty()
            }};
        }
        match self {
            Self::Gauge(gauge) => forget!(gauge),
            Self::Counter(counter) => forget!(counter),
            Self::Timing(timing) => forget!(timing),
            Self::Set(set) => forget!(set),
        }
    }

    /// Returns whether its window has data.
    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Gauge(gauge) => !gauge.window.is_empty(),
            Self::Counter(counter) => !counter.window.is_empty(),
            Self::Timing(timing) => !timing.window.is_empty(),
            Self::Set(set) => !set.window.is_empty(),
        }
    }

    /// Returns its current memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Gauge(gauge) => gauge.bytes(),
            Self::Counter(counter) => counter.bytes(),
            Self::Timing(timing) => timing.bytes(),
            Self::Set(set) => set.bytes(),
        }
    }

    /// Starts a day: resets the figures of today.
    pub(super) fn begin_day(&mut self) {
        match self {
            Self::Gauge(gauge) => gauge.today = Default::default(),
            Self::Counter(counter) => counter.today = Default::default(),
            Self::Timing(timing) => timing.today = Default::default(),
            Self::Set(set) => set.today = Default::default(),
        }
    }

    /// Returns the figures at `moment`: an object.
    pub(super) fn read(&self, moment: Moment) -> Value {
        match self {
            Self::Gauge(gauge) => gauge.read(moment),
            Self::Counter(counter) => counter.read(moment),
            Self::Timing(timing) => timing.read(moment),
            Self::Set(set) => set.read(moment),
        }
    }
}

#[cfg(test)]
mod tests;

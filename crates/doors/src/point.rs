//! Points: what every door makes of a foreign message.

/// Measurements with one name, one set of labels and one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Line of the message, or place of the series in it, counted from 0.
    pub line: usize,
    /// Name of the measurement or metric family.
    pub name: String,
    /// Labels or tags, each name once.
    pub labels: Vec<(String, String)>,
    /// Time in milliseconds since 1970; `None`: the time of arrival.
    pub at: Option<i64>,
    /// Measurements, at least one.
    pub fields: Vec<Field>,
}

/// One measurement of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name within the point, `value` if the protocol has none.
    pub name: String,
    /// Kind and value.
    pub value: Value,
}

/// Kind and value of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A level: the last one is the current one. Finite.
    Gauge(f64),
    /// A text, which has no figures.
    Text(String),
}

/// A parsed message: its points and the lines that are not valid.
#[derive(Debug, Default, PartialEq)]
pub struct Message {
    /// Number of lines or series, the wrong ones included.
    pub lines: usize,
    /// Points in the order of the message.
    pub points: Vec<Point>,
    /// Lines that are not valid, in order.
    pub faults: Vec<Fault>,
}

/// Line that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line of the message, counted from 0.
    pub line: usize,
    /// Explanation of the fault, for people.
    pub detail: String,
}

/// Limits of one message. Beyond them it is refused as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most lines or series; 0 means no limit.
    pub lines: usize,
    /// Most measurements.
    pub fields: usize,
}

/// Error: the message is beyond [`Bounds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// It has more than this number of lines.
    Lines(usize),
    /// It has more than this number of measurements.
    Fields(usize),
}

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lines(most) => write!(f, "more than {most} lines, which is the limit; nothing was accepted"),
            Self::Fields(most) => write!(f, "more than {most} values, which is the limit; nothing was accepted"),
        }
    }
}

impl std::error::Error for TooMany {}

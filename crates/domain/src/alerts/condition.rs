//! Conditions of rules, and the evaluation of a value: bad, good, between the two thresholds, or unknown.

use serde::{Deserialize, Serialize};

use super::AlertError;
use tricast_core::span::Span;

/// Shortest time that values can be absent for or be compared over: the engine evaluates once a second.
const SHORTEST: Span = Span::from_secs(1);

/// Longest time span of a condition.
const LONGEST: Span = Span::from_secs(7 * 86_400);

/// Condition under which a value is bad. `clear` separates the threshold for good from that for bad.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawCondition", into = "RawCondition")]
pub enum Condition {
    /// `{above: x}`: more than `x`; good again at `clear` or less (default `x`).
    Above {
        /// Threshold: the condition is met by values above it.
        limit: f64,
        /// Threshold for good: `limit` or less.
        clear: Option<f64>,
    },
    /// `{below: x}`: less than `x`; good again at `clear` or more (default `x`).
    Below {
        /// Threshold: the condition is met by values below it.
        limit: f64,
        /// Threshold for good: `limit` or more.
        clear: Option<f64>,
    },
    /// `{dropsBelowRatio: r, comparedTo: t}`: less than `r` times the value `t` ago; good again at `clear` times it or
    /// more (default `r`).
    Drop {
        /// Ratio, 0 to 1.
        ratio: f64,
        /// Age of the value to compare with.
        compared_to: Span,
        /// Ratio for good: `ratio` or more.
        clear: Option<f64>,
    },
    /// `{absentFor: t}`: not written for `t`; good again once it has been written for `clear` (default: at once).
    Absent {
        /// Time without a write.
        limit: Span,
        /// Time for which it has to be written again.
        clear: Option<Span>,
    },
}

/// Result of evaluating a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The condition is met.
    Bad,
    /// The condition is not met, but the value has not passed `clear` either.
    Between,
    /// The value has passed `clear`.
    Good,
    /// There is no value, or none to compare it with. This raises and resolves nothing.
    Unknown,
}

impl Condition {
    /// Evaluates `value`, where `earlier` is the value that it is compared with. Absence can't be evaluated from one
    /// value; see the engine.
    pub(super) fn evaluate(&self, value: Option<f64>, earlier: Option<f64>) -> Finding {
        let Some(value) = value else { return Finding::Unknown };
        let judge = |bad: bool, good: bool| match (bad, good) {
            (true, _) => Finding::Bad,
            (_, true) => Finding::Good,
            _ => Finding::Between,
        };
        match *self {
            Self::Above { limit, clear } => judge(value > limit, value <= clear.unwrap_or(limit)),
            Self::Below { limit, clear } => judge(value < limit, value >= clear.unwrap_or(limit)),
            Self::Drop { ratio, clear, .. } => match earlier {
                // A share of zero or less is meaningless.
                Some(earlier) if earlier > 0.0 => {
                    judge(value < ratio * earlier, value >= clear.unwrap_or(ratio) * earlier)
                }
                _ => Finding::Unknown,
            },
            Self::Absent { .. } => Finding::Unknown,
        }
    }

    /// Returns the threshold as alerts show it; seconds for an absence.
    pub(super) fn threshold(&self, earlier: Option<f64>) -> f64 {
        match *self {
            Self::Above { limit, .. } | Self::Below { limit, .. } => limit,
            Self::Drop { ratio, .. } => ratio * earlier.unwrap_or(0.0),
            Self::Absent { limit, .. } => limit.0.as_secs_f64(),
        }
    }

    /// Returns the age of the oldest value that is needed.
    pub(super) fn required_age(&self) -> Option<Span> {
        match *self {
            Self::Drop { compared_to, .. } => Some(compared_to),
            _ => None,
        }
    }

    /// Describes the measured value in a sentence.
    pub(super) fn describe(&self, metric: &str, value: Option<f64>, threshold: f64) -> String {
        let value = value.unwrap_or_default();
        match self {
            Self::Above { .. } => format!("{metric} is {value}, above {threshold}"),
            Self::Below { .. } => format!("{metric} is {value}, below {threshold}"),
            Self::Drop { ratio, compared_to, .. } => {
                format!("{metric} is {value}, below {threshold}, which is {ratio} of what it was {compared_to} ago")
            }
            Self::Absent { limit, .. } => format!("{metric} has not come for {limit}"),
        }
    }
}

/// Condition as it is written. `clear` is a number, or a period for an absence.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCondition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    above: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drops_below_ratio: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compared_to: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent_for: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clear: Option<Clear>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Clear {
    Number(f64),
    Span(Span),
}

impl RawCondition {
    /// Returns the condition.
    ///
    /// # Errors
    /// [`AlertError::Invalid`], which names the field.
    pub(super) fn build(self) -> Result<Condition, AlertError> {
        let fault = |text: &str| Err(AlertError::invalid(format!("condition: {text}")));
        let Self { above, below, drops_below_ratio, compared_to, absent_for, clear } = self;
        if compared_to.is_some() != drops_below_ratio.is_some() {
            return fault("dropsBelowRatio and comparedTo: both or neither");
        }
        let number = match &clear {
            None => None,
            Some(Clear::Number(number)) => Some(*number),
            // A bare number of an absence is read as a number.
            Some(Clear::Span(_)) if absent_for.is_some() => None,
            Some(Clear::Span(_)) => return fault("clear: a number"),
        };
        match (above, below, drops_below_ratio, absent_for) {
            (Some(limit), None, None, None) => {
                if number.is_some_and(|clear| clear > limit) {
                    return fault("clear: at most the value of \"above\"");
                }
                Ok(Condition::Above { limit, clear: number })
            }
            (None, Some(limit), None, None) => {
                if number.is_some_and(|clear| clear < limit) {
                    return fault("clear: at least the value of \"below\"");
                }
                Ok(Condition::Below { limit, clear: number })
            }
            (None, None, Some(ratio), None) => {
                let compared_to = compared_to.unwrap_or_default();
                if !(ratio > 0.0 && ratio <= 1.0) {
                    return fault("dropsBelowRatio: above 0, at most 1");
                }
                if compared_to < SHORTEST || compared_to > LONGEST {
                    return fault("comparedTo: 1s to 7d");
                }
                if number.is_some_and(|clear| clear < ratio) {
                    return fault("clear: at least the value of \"dropsBelowRatio\"");
                }
                Ok(Condition::Drop { ratio, compared_to, clear: number })
            }
            (None, None, None, Some(limit)) => {
                if limit < SHORTEST || limit > LONGEST {
                    return fault("absentFor: 1s to 7d");
                }
                let clear = match clear {
                    None => None,
                    Some(Clear::Span(span)) if span <= LONGEST => Some(span),
                    Some(_) => return fault("clear: a duration of at most 7d, such as \"1m\""),
                };
                Ok(Condition::Absent { limit, clear })
            }
            _ => fault("one of above, below, dropsBelowRatio (with comparedTo) and absentFor"),
        }
    }
}

impl TryFrom<RawCondition> for Condition {
    type Error = AlertError;

    fn try_from(raw: RawCondition) -> Result<Self, AlertError> {
        raw.build()
    }
}

impl From<Condition> for RawCondition {
    fn from(condition: Condition) -> Self {
        let number = |clear: Option<f64>| clear.map(Clear::Number);
        match condition {
            Condition::Above { limit, clear } => Self { above: Some(limit), clear: number(clear), ..Self::default() },
            Condition::Below { limit, clear } => Self { below: Some(limit), clear: number(clear), ..Self::default() },
            Condition::Drop { ratio, compared_to, clear } => Self {
                drops_below_ratio: Some(ratio),
                compared_to: Some(compared_to),
                clear: number(clear),
                ..Self::default()
            },
            Condition::Absent { limit, clear } => {
                Self { absent_for: Some(limit), clear: clear.map(Clear::Span), ..Self::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<Condition, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_written_condition_is_read_back_unchanged() {
        for value in [
            json!({"above": 1.5}),
            json!({"above": 90.0, "clear": 80.0}),
            json!({"below": -1.0, "clear": 0.0}),
            json!({"dropsBelowRatio": 0.5, "comparedTo": "1h"}),
            json!({"dropsBelowRatio": 0.5, "comparedTo": "1d", "clear": 0.75}),
            json!({"absentFor": "5m"}),
            json!({"absentFor": "5m", "clear": "1m"}),
        ] {
            assert_eq!(json!(read(&value).unwrap()), value);
        }
    }

    #[test]
    fn limits_of_a_condition_are_inclusive() {
        for value in [
            json!({"above": 90.0, "clear": 90.0}),
            json!({"below": 10.0, "clear": 10.0}),
            json!({"dropsBelowRatio": 1.0, "comparedTo": "1s", "clear": 1.0}),
            json!({"dropsBelowRatio": 0.001, "comparedTo": "7d", "clear": 0.001}),
            json!({"absentFor": "1s", "clear": "7d"}),
            json!({"absentFor": "7d", "clear": "0ms"}),
        ] {
            assert_eq!(read(&value).map(|condition| json!(condition)), Ok(value));
        }
    }

    #[test]
    fn meaningless_conditions_are_refused() {
        for (value, part) in [
            (json!({}), "one of above"),
            (json!({"clear": 1}), "one of above"),
            (json!({"above": 1, "below": 2}), "one of above"),
            (json!({"above": 1, "absentFor": "5m"}), "one of above"),
            (json!({"above": "1"}), "invalid type"),
            (json!({"above": 1, "clear": 2}), "clear: at most"),
            (json!({"below": 1, "clear": 0}), "clear: at least"),
            (json!({"above": 1, "clear": "1m"}), "clear: a number"),
            (json!({"dropsBelowRatio": 0.5}), "both or neither"),
            (json!({"above": 1, "comparedTo": "1h"}), "both or neither"),
            (json!({"dropsBelowRatio": 0, "comparedTo": "1h"}), "dropsBelowRatio: above 0"),
            (json!({"dropsBelowRatio": 1.5, "comparedTo": "1h"}), "dropsBelowRatio: above 0"),
            (json!({"dropsBelowRatio": 0.5, "comparedTo": 604_800_001}), "comparedTo: 1s"),
            (json!({"dropsBelowRatio": 0.5, "comparedTo": 999}), "comparedTo: 1s"),
            (json!({"dropsBelowRatio": 0.5, "comparedTo": "1h", "clear": 0.4}), "clear: at least"),
            (json!({"absentFor": 999}), "absentFor: 1s"),
            (json!({"absentFor": 604_800_001}), "absentFor: 1s"),
            (json!({"absentFor": "5m", "clear": "604800001ms"}), "clear: a duration"),
            (json!({"absentFor": "5m", "clear": 5}), "clear: a duration"),
            (json!({"over": 1}), "unknown field"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }

    #[test]
    fn a_value_between_the_thresholds_is_neither_bad_nor_good() {
        let judge = |condition: Value, value, earlier| read(&condition).unwrap().evaluate(value, earlier);
        let above = json!({"above": 90, "clear": 80});
        for (value, finding) in [
            (Some(90.1), Finding::Bad),
            (Some(90.0), Finding::Between),
            (Some(80.1), Finding::Between),
            (Some(80.0), Finding::Good),
            (None, Finding::Unknown),
        ] {
            assert_eq!(judge(above.clone(), value, None), finding, "{value:?}");
        }
        let below = json!({"below": 10});
        assert_eq!(judge(below.clone(), Some(9.9), None), Finding::Bad);
        assert_eq!(judge(below, Some(10.0), None), Finding::Good);
        let drop = json!({"dropsBelowRatio": 0.5, "comparedTo": "1h", "clear": 0.8});
        for (value, earlier, finding) in [
            (49.0, Some(100.0), Finding::Bad),
            (50.0, Some(100.0), Finding::Between),
            (80.0, Some(100.0), Finding::Good),
            (0.0, Some(0.0), Finding::Unknown),
            (1.0, Some(-5.0), Finding::Unknown),
            (1.0, None, Finding::Unknown),
        ] {
            assert_eq!(judge(drop.clone(), Some(value), earlier), finding, "{value} {earlier:?}");
        }
    }
}

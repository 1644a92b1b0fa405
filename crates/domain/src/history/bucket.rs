//! Summary of the points of one series in a span of time, and its roll-up from finer spans. Pure.

use super::{Calendar, Level, calendar::Span};

/// Summary of the points of one series in a span of time. It has at least one point: a span without points has no
/// bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Start of the span, in milliseconds since 1970; for a point, its time.
    pub at: i64,
    /// Number of points in the bucket.
    pub count: u64,
    /// Sum of the points.
    pub total: f64,
    /// Smallest value of the points.
    pub min: f64,
    /// Largest value of the points.
    pub max: f64,
    /// Value of the last point.
    pub last: f64,
}

impl Bucket {
    /// Creates the bucket of a single point.
    pub const fn of_point(at: i64, value: f64) -> Self {
        Self { at, count: 1, total: value, min: value, max: value, last: value }
    }

    /// Returns the mean of the points.
    pub fn average(&self) -> f64 {
        // The sum may be clamped to the largest number; the mean is never outside of the values.
        (self.total / self.count as f64).clamp(self.min, self.max)
    }

    /// Adds `later`, whose points are later than these.
    pub fn add(&mut self, later: &Self) {
        self.count += later.count;
        // Finite whatever is added: JSON has no infinity.
        self.total = (self.total + later.total).clamp(f64::MIN, f64::MAX);
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
    }
}

/// Folds `rows` of finer levels into buckets of `level`. The rows are in the order of their times, and none lies in two
/// buckets.
pub fn fold(rows: impl IntoIterator<Item = Bucket>, level: Level, calendar: &Calendar) -> Vec<Bucket> {
    fold_by(rows, |at| calendar.bucket(level, at))
}

/// Folds rows, where `span` returns the bucket that holds a time.
pub(super) fn fold_by(rows: impl IntoIterator<Item = Bucket>, mut span: impl FnMut(i64) -> Span) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut end = i64::MIN;
    for row in rows {
        match buckets.last_mut() {
            Some(bucket) if row.at < end => bucket.add(&row),
            _ => {
                let span = span(row.at);
                end = span.end;
                buckets.push(Bucket { at: span.start, ..row });
            }
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_without_points_is_absent() {
        let calendar = Calendar::new(TimeZone::UTC);
        let points = [(59_999, 5.0), (60_000, -1.0), (60_001, 3.0), (180_000, 0.5)];
        let buckets = fold(points.map(|(at, value)| Bucket::of_point(at, value)), Level::Minute, &calendar);
        let second = Bucket { at: 60_000, count: 2, total: 2.0, min: -1.0, max: 3.0, last: 3.0 };
        assert_eq!(buckets, [Bucket { at: 0, ..Bucket::of_point(0, 5.0) }, second, Bucket::of_point(180_000, 0.5)]);
        assert_eq!(second.average(), 1.0);
    }

    #[test]
    fn a_bucket_has_the_smallest_the_largest_and_the_last_point() {
        for values in [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [2.0, 1.0, 3.0]] {
            let mut bucket = Bucket::of_point(0, values[0]);
            values[1..].iter().for_each(|value| bucket.add(&Bucket::of_point(1, *value)));
            assert_eq!(bucket, Bucket { at: 0, count: 3, total: 6.0, min: 1.0, max: 3.0, last: values[2] });
        }
    }

    #[test]
    fn sums_and_means_are_finite() {
        let mut huge = Bucket::of_point(0, f64::MAX);
        huge.add(&huge.clone());
        assert!(huge.total.is_finite() && huge.average().is_finite());
    }

    proptest! {
        #[test]
        fn folding_by_way_of_finer_levels_has_the_same_result(
            points in prop::collection::btree_map(1_790_000_000_000_i64..1_800_000_000_000, -1_000_000_i32..1_000_000, 1..200),
            zone in prop::sample::select(&["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]),
        ) {
            let calendar = Calendar::new(TimeZone::get(zone).unwrap());
            // Integers, so that sums do not depend on their order.
            let raw: Vec<Bucket> = points.iter().map(|(at, value)| Bucket::of_point(*at, f64::from(*value))).collect();
            let mut stepwise = raw.clone();
            for level in Level::ROLLED {
                stepwise = fold(stepwise, level, &calendar);
                prop_assert_eq!(&stepwise, &fold(raw.clone(), level, &calendar));
            }
            prop_assert_eq!(stepwise.iter().map(|bucket| bucket.count).sum::<u64>(), points.len() as u64);
        }
    }
}

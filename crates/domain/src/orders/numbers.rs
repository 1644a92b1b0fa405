//! Business figures, updated by one change at a time: counts and cents per minute of the last days.
//!
//! The store keeps the same counts, changed by the same [`Tally`] in the transaction of the order, so that a start
//! reads some thousand minutes instead of every order.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};

use super::{Money, Rollup, RowCounts, Status};
use crate::sources::round;

/// Minutes of a day on which the clocks don't change.
const DAY: i64 = 24 * 60;

/// Counts of one minute, by the time at which an order was created, a customer first recorded, or a visit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Number of orders that are not cancelled.
    pub orders: i64,
    /// Sum of these orders, in cents.
    pub cents: i64,
    /// Number of orders that are `PROCESSING` now.
    pub processing: i64,
    /// Number of customers who were recorded for the first time.
    pub customers: i64,
    /// Number of visits that clients reported.
    pub visits: i64,
}

impl Minute {
    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // Saturating: a figure at the end of its range is better than one that wraps to a negative.
        Self {
            orders: self.orders.saturating_add(other.orders),
            cents: self.cents.saturating_add(other.cents),
            processing: self.processing.saturating_add(other.processing),
            customers: self.customers.saturating_add(other.customers),
            visits: self.visits.saturating_add(other.visits),
        }
    }
}

/// Change of the figures by one change of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Minute that it counts in.
    pub minute: i64,
    /// Counts to add to the minute.
    pub counts: Minute,
    /// Number to add to the open orders.
    pub open: i64,
    /// Numbers to add to the rows.
    pub rows: RowCounts,
}

impl Tally {
    /// Counts a new order in the minute of its creation, unless it is cancelled.
    pub fn order(created: Timestamp, status: Status, total: Money) -> Self {
        let counts = status != Status::Cancelled;
        let counts = Minute {
            orders: i64::from(counts),
            cents: if counts { total.cents } else { 0 },
            processing: i64::from(status == Status::Processing),
            ..Minute::default()
        };
        let open = i64::from(status.is_open());
        Self { minute: minute_of(created), counts, open, rows: RowCounts { orders: 1, customers: 0 } }
    }

    /// Moves an order from one status to another.
    pub fn change(created: Timestamp, before: Status, after: Status, total: Money) -> Self {
        let (before, after) = (Self::order(created, before, total), Self::order(created, after, total));
        let counts = Minute {
            orders: after.counts.orders - before.counts.orders,
            cents: after.counts.cents - before.counts.cents,
            processing: after.counts.processing - before.counts.processing,
            ..Minute::default()
        };
        Self { minute: after.minute, counts, open: after.open - before.open, rows: RowCounts::default() }
    }

    /// Adds a customer who was recorded for the first time.
    pub fn and_customer(mut self) -> Self {
        self.counts.customers += 1;
        self.rows.customers += 1;
        self
    }

    /// Counts a customer who was recorded for the first time.
    pub fn customer(at: Timestamp) -> Self {
        Self { minute: minute_of(at), ..Self::default() }.and_customer()
    }

    /// Creates the tally of `count` visits at `at`.
    pub fn visits(at: Timestamp, count: u32) -> Self {
        let counts = Minute { visits: count.into(), ..Minute::default() };
        Self { minute: minute_of(at), counts, ..Self::default() }
    }

    /// Takes deleted rows off the numbers of rows; the figures stay.
    pub fn deleted(at: Timestamp, rows: RowCounts) -> Self {
        let rows = RowCounts { orders: -rows.orders, customers: -rows.customers };
        Self { minute: minute_of(at), rows, ..Self::default() }
    }
}

/// Returns the minute that `time` lies in, counted from 1970.
pub fn minute_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}

/// Counts per minute, and the numbers of open orders and of rows.
#[derive(Debug, Default)]
pub struct Numbers {
    minutes: BTreeMap<i64, Minute>,
    open: i64,
    rows: RowCounts,
}

/// Order figures of `GET /api/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Number of orders of the last 24 h that are `PROCESSING`.
    pub active_orders: i64,
    /// Revenue since midnight, without cancelled orders.
    pub revenue: Money,
    /// Time of the figures.
    pub at: Timestamp,
}

fn start_of_day(day: &Zoned) -> i64 {
    minute_of(day.start_of_day().map_or_else(|_| day.timestamp(), |midnight| midnight.timestamp()))
}

impl From<Rollup> for Numbers {
    fn from(rollup: Rollup) -> Self {
        Self { minutes: rollup.minutes.into_iter().collect(), open: rollup.open, rows: rollup.rows }
    }
}

impl Numbers {
    /// Returns the first minute needed at `now`: yesterday's first, and a day more for a clock that is set back over
    /// midnight.
    pub fn horizon(now: &Zoned) -> i64 {
        let yesterday = now.checked_sub(1.day()).unwrap_or_else(|_| now.clone());
        start_of_day(&yesterday) - DAY
    }

    /// Returns the same channels while the figures are not loaded: null, which is not zero.
    pub fn unknown(currency: &str) -> [(&'static str, Value); 3] {
        let mut values = Self::default().read(&Zoned::default(), currency);
        for field in
            values.iter_mut().filter_map(|(_, value)| value.as_object_mut()).flat_map(|fields| fields.iter_mut())
        {
            if field.0 != "currency" {
                *field.1 = Value::Null;
            }
        }
        values
    }

    /// Adds a change to the figures.
    pub fn count(&mut self, tally: Tally) {
        let minute = self.minutes.entry(tally.minute).or_default();
        *minute = minute.plus(tally.counts);
        self.open = self.open.saturating_add(tally.open);
        self.rows = self.rows.plus(tally.rows);
    }

    /// Returns the numbers of rows.
    pub fn rows(&self) -> RowCounts {
        self.rows
    }

    /// Returns the values of `metrics.business`, `metrics.orders` and `metrics.revenue` at `now`, whose zone determines
    /// the start of the day. Discards minutes that are older than needed.
    pub fn read(&mut self, now: &Zoned, currency: &str) -> [(&'static str, Value); 3] {
        self.minutes = self.minutes.split_off(&Self::horizon(now));
        let yesterday = now.checked_sub(1.day()).unwrap_or_else(|_| now.clone());
        let end = minute_of(now.timestamp()) + 1;
        let today = self.sum(start_of_day(now), end);
        let hour = self.sum(end - 60, end);
        let before = self.sum(start_of_day(&yesterday), minute_of(yesterday.timestamp()) + 1);
        let ratio = |a: i64, b: i64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let trend = match before.orders {
            0 => "n/a".to_owned(),
            // In integers, or a loss below half a percent would be "-0%".
            orders => format!("{:+}%", (ratio(today.orders, orders) * 100.0).round() as i64 - 100),
        };
        [
            (
                "metrics.business",
                json!({
                    "orders_today": today.orders,
                    "revenue_today": Money { cents: today.cents },
                    "new_users_today": today.customers,
                    "conversion_rate": round(ratio(today.orders, today.visits).min(1.0), 4),
                }),
            ),
            (
                "metrics.orders",
                json!({
                    "ordersToday": today.orders,
                    "ordersLastHour": hour.orders,
                    "pendingOrders": self.open.max(0),
                    "trend": trend,
                }),
            ),
            (
                "metrics.revenue",
                json!({
                    "revenueToday": Money { cents: today.cents },
                    "revenueLastHour": Money { cents: hour.cents },
                    "averageOrderValue": Money { cents: mean(today.cents, today.orders) },
                    "currency": currency,
                }),
            ),
        ]
    }

    /// Returns the number of open orders at `now`, and the revenue of that day.
    pub fn stats(&self, now: &Zoned) -> Stats {
        let end = minute_of(now.timestamp()) + 1;
        Stats {
            active_orders: self.sum(end - DAY, end).processing.max(0),
            revenue: Money { cents: self.sum(start_of_day(now), end).cents },
            at: now.timestamp(),
        }
    }

    fn sum(&self, from: i64, to: i64) -> Minute {
        // With a clock that was set back the end can be before the start.
        self.minutes.range(from.min(to)..to).fold(Minute::default(), |sum, (_, minute)| sum.plus(*minute))
    }
}

/// Returns the mean in cents, half a cent rounded up; 0 if there are none.
fn mean(cents: i64, count: i64) -> i64 {
    if count <= 0 {
        return 0;
    }
    let (cents, count) = (i128::from(cents), i128::from(count));
    i64::try_from((2 * cents + count).div_euclid(2 * count)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tricast_core::built_in;

    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn money(cents: i64) -> Money {
        Money { cents }
    }

    #[test]
    fn the_day_is_that_of_the_zone_and_cancelled_orders_do_not_count() {
        let mut numbers = Numbers::default();
        let zone = "[Europe/Zurich]";
        let yesterday = at(&format!("2026-03-27T09:30{zone}")).timestamp();
        let late_yesterday = at(&format!("2026-03-27T23:59{zone}")).timestamp();
        let today = at(&format!("2026-03-28T00:01{zone}")).timestamp();
        numbers.count(Tally::order(yesterday, Status::Completed, money(1_000)));
        numbers.count(Tally::order(late_yesterday, Status::Pending, money(999_999)));
        for _ in 0..3 {
            numbers.count(Tally::order(today, Status::Pending, money(1_050)));
        }
        numbers.count(Tally::change(today, Status::Pending, Status::Cancelled, money(1_050)));
        numbers.count(Tally::visits(today, 8));
        numbers.count(Tally::customer(today));
        let [(_, business), (_, orders), (_, revenue)] = numbers.read(&at(&format!("2026-03-28T10:00{zone}")), "EUR");
        assert_eq!(
            business,
            json!({"orders_today": 2, "revenue_today": 21.0, "new_users_today": 1, "conversion_rate": 0.25})
        );
        assert_eq!(orders, json!({"ordersToday": 2, "ordersLastHour": 0, "pendingOrders": 3, "trend": "+100%"}));
        assert_eq!(revenue["averageOrderValue"], json!(10.5));
        let [(_, business), (_, orders), _] = numbers.read(&at(&format!("2026-03-30T00:00{zone}")), "EUR");
        assert_eq!((business["orders_today"].clone(), orders["trend"].clone()), (json!(0), json!("n/a")));
    }

    #[test]
    fn the_fields_are_those_of_the_built_in_channels() {
        for (channel, value) in Numbers::unknown("EUR") {
            let mut fields: Vec<_> = built_in::field_names(channel).collect();
            fields.sort_unstable();
            assert!(value.as_object().unwrap().keys().eq(fields), "{channel}: {value}");
        }
    }

    #[test]
    fn days_of_23_and_25_hours_are_whole_days() {
        for (date, next, hours) in [("2026-03-29", "2026-03-30", 23), ("2026-10-25", "2026-10-26", 25)] {
            let (midnight, next) =
                (at(&format!("{date}T00:00[Europe/Zurich]")), at(&format!("{next}T00:00[Europe/Zurich]")));
            assert_eq!((next.timestamp() - midnight.timestamp()).get_seconds(), hours * 3600);
            let mut numbers = Numbers::default();
            for hour in 0..hours {
                let time = midnight.timestamp() + (hour * 3600).seconds();
                numbers.count(Tally::order(time, Status::Completed, money(1)));
            }
            let late = next.checked_sub(1.second()).unwrap();
            assert_eq!(numbers.read(&late, "EUR")[0].1["orders_today"], hours, "{date}");
            assert_eq!(numbers.read(&next, "EUR")[0].1["orders_today"], 0, "{date}");
            let same_time = next.checked_add(12.hours()).unwrap();
            numbers.count(Tally::order(same_time.timestamp(), Status::Completed, money(1)));
            // Until noon of the wall clock, which is an hour less or more of the day.
            let [_, (_, orders), _] = numbers.read(&same_time, "EUR");
            let before = 12 + (hours - 24) + 1;
            let percent = (100.0 / before as f64).round() as i64 - 100;
            assert_eq!(orders["trend"], format!("{percent:+}%"), "{date}");
        }
    }

    #[test]
    fn the_last_hour_has_sixty_minutes() {
        let mut numbers = Numbers::default();
        let now = at("2026-06-01T12:00:30[UTC]");
        for (time, count) in
            [("2026-06-01T11:00:59[UTC]", 0), ("2026-06-01T11:01[UTC]", 1), ("2026-06-01T12:00[UTC]", 2)]
        {
            numbers.count(Tally::order(at(time).timestamp(), Status::Completed, money(5)));
            let [_, (_, orders), (_, revenue)] = numbers.read(&now, "EUR");
            assert_eq!(
                (&orders["ordersLastHour"], &revenue["revenueLastHour"]),
                (&json!(count), &json!(count as f64 * 0.05))
            );
        }
    }

    #[test]
    fn more_orders_than_visits_are_a_rate_of_one() {
        let mut numbers = Numbers::default();
        let now = at("2026-06-01T12:00[UTC]");
        let mut rate = |tally| {
            numbers.count(tally);
            numbers.read(&now, "EUR")[0].1["conversion_rate"].clone()
        };
        let order = || Tally::order(now.timestamp(), Status::Completed, money(1));
        assert_eq!(rate(order()), json!(0.0), "there were no visits");
        assert_eq!(rate(Tally::visits(now.timestamp(), 1)), json!(1.0));
        assert_eq!(rate(order()), json!(1.0));
        assert_eq!(rate(Tally::visits(now.timestamp(), 3)), json!(0.5));
    }

    #[test]
    fn a_clock_that_is_set_back_over_midnight_finds_the_day_before() {
        let mut numbers = Numbers::default();
        numbers.count(Tally::order(at("2026-06-01T00:00[UTC]").timestamp(), Status::Completed, money(1)));
        for day in 2..=3 {
            let time = at(&format!("2026-06-{day:02}T08:00[UTC]")).timestamp();
            (0..2).for_each(|_| numbers.count(Tally::order(time, Status::Completed, money(1))));
        }
        let mut trend = |now| numbers.read(&at(now), "EUR")[1].1["trend"].clone();
        trend("2026-06-03T00:01[UTC]");
        assert_eq!(trend("2026-06-02T23:59[UTC]"), "+100%", "two orders, and one the day before");
        trend("2026-06-04T00:00[UTC]");
        assert_eq!(
            trend("2026-06-02T23:59[UTC]"),
            "n/a",
            "a clock that is set back by more than a day is not supported"
        );
    }

    #[test]
    fn unknown_figures_are_null() {
        let [(_, business), (_, orders), (_, revenue)] = Numbers::unknown("CHF");
        assert_eq!(
            revenue,
            json!({"revenueToday": null, "revenueLastHour": null, "averageOrderValue": null, "currency": "CHF"})
        );
        assert!(business.as_object().unwrap().values().all(Value::is_null));
        assert_eq!(orders.as_object().unwrap().len(), 4);
    }

    #[test]
    fn sums_are_exact() {
        let mut numbers = Numbers::default();
        let now = at("2026-06-01T12:00[UTC]");
        for _ in 0..100_000 {
            numbers.count(Tally::order(now.timestamp(), Status::Completed, money(10)));
        }
        assert_eq!(numbers.read(&now, "EUR")[0].1["revenue_today"], json!(10_000.0));
    }

    #[test]
    fn the_mean_is_rounded_to_the_cent() {
        for (cents, count, expected) in [(0, 0, 0), (100, 3, 33), (200, 3, 67), (1, 2, 1), (i64::MAX, 1, i64::MAX)] {
            assert_eq!(mean(cents, count), expected, "{cents} / {count}");
        }
    }

    #[test]
    fn a_trend_from_nothing_has_a_plus() {
        let mut numbers = Numbers::default();
        let now = at("2026-06-02T12:00[UTC]");
        let yesterday = now.checked_sub(1.day()).unwrap().timestamp();
        for _ in 0..300 {
            numbers.count(Tally::order(yesterday, Status::Completed, money(1)));
        }
        for _ in 0..299 {
            numbers.count(Tally::order(now.timestamp(), Status::Completed, money(1)));
        }
        assert_eq!(numbers.read(&now, "EUR")[1].1["trend"], "+0%");
    }

    proptest! {
        /// For any changes of orders the figures equal those computed from the orders.
        #[test]
        fn tallies_add_up_to_the_figures(steps in proptest::collection::vec((0usize..20, 0usize..5, 0i64..4_000, 0i64..1_000_000), 0..200)) {
            let now = at("2026-06-02T12:00[Europe/Zurich]");
            let midnight = start_of_day(&now) * 60;
            let mut numbers = Numbers::default();
            let mut orders: Vec<(Timestamp, Status, i64)> = Vec::new();
            for (which, status, minutes_ago, cents) in steps {
                let status = Status::ALL[status];
                if let Some((created, before, total)) = orders.get_mut(which) {
                    numbers.count(Tally::change(*created, *before, status, money(*total)));
                    *before = status;
                } else {
                    let created = now.timestamp() - (minutes_ago * 60).seconds();
                    numbers.count(Tally::order(created, status, money(cents)));
                    orders.push((created, status, cents));
                }
            }
            let today: Vec<_> = orders.iter().filter(|order| order.0.as_second() >= midnight && order.1 != Status::Cancelled).collect();
            let open = orders.iter().filter(|order| matches!(order.1, Status::Pending | Status::Processing)).count();
            let day = now.timestamp().as_second() - 86_400;
            let active = orders.iter().filter(|order| order.1 == Status::Processing && order.0.as_second() > day).count();
            let stats = numbers.stats(&now);
            let [(_, business), (_, of_orders), _] = numbers.read(&now, "EUR");
            prop_assert_eq!(&business["orders_today"], today.len());
            prop_assert_eq!(stats.revenue.cents, today.iter().map(|order| order.2).sum::<i64>());
            prop_assert_eq!(&of_orders["pendingOrders"], open);
            prop_assert_eq!(stats.active_orders, active as i64);
        }
    }
}

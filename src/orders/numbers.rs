//! The business numbers, kept up to date by one order at a time: counts and cents per minute of the last two days.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};

use super::Status;
use crate::sources::round;

/// Counts per minute, and what is open.
#[derive(Debug, Default)]
pub struct Numbers {
    minutes: BTreeMap<i64, Minute>,
    open: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    orders: i64,
    cents: i64,
    customers: i64,
    visits: i64,
}

fn minute_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}

fn is_open(status: Status) -> bool {
    matches!(status, Status::Pending | Status::Processing)
}

impl Numbers {
    /// An order came: it counts in the minute of its creation, unless it is cancelled.
    pub fn add(&mut self, created: Timestamp, status: Status, cents: i64) {
        self.count(created, status, cents, 1);
    }

    /// An order changed its status.
    pub fn change(&mut self, created: Timestamp, before: Status, after: Status, cents: i64) {
        self.count(created, before, cents, -1);
        self.count(created, after, cents, 1);
    }

    fn count(&mut self, created: Timestamp, status: Status, cents: i64, sign: i64) {
        if status != Status::Cancelled {
            let minute = self.minutes.entry(minute_of(created)).or_default();
            minute.orders += sign;
            minute.cents += sign * cents;
        }
        if is_open(status) {
            self.open = self.open.saturating_add_signed(sign);
        }
    }

    /// A customer was seen for the first time.
    pub fn customer(&mut self, now: Timestamp) {
        self.minutes.entry(minute_of(now)).or_default().customers += 1;
    }

    /// Somebody visited.
    pub fn visit(&mut self, now: Timestamp) {
        self.minutes.entry(minute_of(now)).or_default().visits += 1;
    }

    /// The values of `metrics.business`, `metrics.orders` and `metrics.revenue` at `now`, whose zone says when the day
    /// began. Forgets what is older than they need.
    pub fn read(&mut self, now: &Zoned, currency: &str) -> [(&'static str, Value); 3] {
        let midnight = now.start_of_day().map_or_else(|_| now.timestamp(), |midnight| midnight.timestamp());
        let yesterday = now.checked_sub(1.day()).unwrap_or_else(|_| now.clone());
        let yesterday_midnight =
            yesterday.start_of_day().map_or_else(|_| yesterday.timestamp(), |start| start.timestamp());
        let end = minute_of(now.timestamp()) + 1;
        self.minutes = self.minutes.split_off(&(minute_of(yesterday_midnight)));
        let today = self.sum(minute_of(midnight), end);
        let hour = self.sum(end - 60, end);
        let before = self.sum(minute_of(yesterday_midnight), minute_of(yesterday.timestamp()) + 1);
        let money = |cents: i64| cents as f64 / 100.0;
        let ratio = |a: i64, b: i64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let trend = match before.orders {
            0 => "n/a".to_owned(),
            orders => format!("{:+.0}%", (ratio(today.orders, orders) - 1.0) * 100.0),
        };
        [
            (
                "metrics.business",
                json!({
                    "orders_today": today.orders,
                    "revenue_today": money(today.cents),
                    "new_users_today": today.customers,
                    "conversion_rate": round(ratio(today.orders, today.visits).min(1.0), 4),
                }),
            ),
            (
                "metrics.orders",
                json!({
                    "ordersToday": today.orders,
                    "ordersLastHour": hour.orders,
                    "pendingOrders": self.open,
                    "trend": trend,
                }),
            ),
            (
                "metrics.revenue",
                json!({
                    "revenueToday": money(today.cents),
                    "revenueLastHour": money(hour.cents),
                    "averageOrderValue": round(ratio(today.cents, today.orders) / 100.0, 2),
                    "currency": currency,
                }),
            ),
        ]
    }

    fn sum(&self, from: i64, to: i64) -> Minute {
        self.minutes.range(from..to).fold(Minute::default(), |sum, (_, minute)| Minute {
            orders: sum.orders + minute.orders,
            cents: sum.cents + minute.cents,
            customers: sum.customers + minute.customers,
            visits: sum.visits + minute.visits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn the_day_is_that_of_the_zone_and_cancelled_orders_count_nowhere() {
        let mut numbers = Numbers::default();
        let zone = "[Europe/Zurich]";
        let yesterday = at(&format!("2026-03-27T09:30{zone}")).timestamp();
        let late_yesterday = at(&format!("2026-03-27T23:59{zone}")).timestamp();
        let today = at(&format!("2026-03-28T00:01{zone}")).timestamp();
        numbers.add(yesterday, Status::Completed, 1_000);
        numbers.add(late_yesterday, Status::Pending, 999_999);
        for _ in 0..3 {
            numbers.add(today, Status::Pending, 1_050);
        }
        numbers.change(today, Status::Pending, Status::Cancelled, 1_050);
        (0..8).for_each(|_| numbers.visit(today));
        numbers.customer(today);
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
    fn sums_are_exact() {
        let mut numbers = Numbers::default();
        let now = at("2026-06-01T12:00[UTC]");
        for _ in 0..100_000 {
            numbers.add(now.timestamp(), Status::Completed, 10);
        }
        assert_eq!(numbers.read(&now, "EUR")[0].1["revenue_today"], json!(10_000.0));
    }
}

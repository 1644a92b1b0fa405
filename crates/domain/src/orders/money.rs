//! Money: integer cents internally, a number with at most 2 decimals in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Amount in the configured currency, exact to the cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// Amount in hundredths of the currency, such as cents.
    pub cents: i64,
}

/// Largest amount of one order, in cents: exact as a JSON number everywhere.
const MAX_CENTS: f64 = 1e13;

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cents as f64 / 100.0)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let amount = number.as_f64().filter(|amount| (0.0..MAX_CENTS / 100.0).contains(amount));
        let amount = amount.ok_or_else(|| D::Error::custom("an amount is not negative and below 100 billion"))?;
        // The shortest text that reads back as the same number is what the client wrote.
        let text = format!("{amount}");
        if text.split_once('.').is_some_and(|(_, decimals)| decimals.len() > 2) {
            return Err(D::Error::custom("an amount has at most 2 decimals"));
        }
        Ok(Self { cents: (amount * 100.0).round() as i64 })
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let number = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::Number);
        let number = number.minimum(Some(0)).exclusive_maximum(Some(MAX_CENTS / 100.0)).examples([19.9]);
        number.description(Some("Amount in the currency of the server, with at most 2 decimals.")).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Money {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, cents) in
            [("0", 0), ("19.99", 1999), ("0.1", 10), ("1e2", 10_000), ("1234567.89", 123_456_789), ("0.29", 29)]
        {
            let money: Money = serde_json::from_str(text).unwrap();
            assert_eq!(money.cents, cents, "{text}");
            let back: Money = serde_json::from_str(&serde_json::to_string(&money).unwrap()).unwrap();
            assert_eq!(back, money);
        }
        for bad in ["-1", "1.005", "1e300", "\"1\"", "0.001", "99999999999999"] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad}");
        }
    }
}

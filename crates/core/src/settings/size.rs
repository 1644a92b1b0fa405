//! Sizes in bytes as people write them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A number of bytes: `"64KiB"`, `"1MiB"`, or a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Number(i64),
    Text(String),
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..split].parse().ok()?, text[split..].trim()))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("write a size as \"64KiB\", \"1MiB\" or a number of bytes");
        let bytes = match Raw::deserialize(deserializer).map_err(|_| wrong())? {
            Raw::Number(bytes) => u64::try_from(bytes).map_err(|_| wrong())?,
            Raw::Text(text) => {
                let (number, unit) = number_and_unit(text.trim()).ok_or_else(wrong)?;
                let shift = match unit {
                    "" | "B" => 0,
                    "KiB" => 10,
                    "MiB" => 20,
                    "GiB" => 30,
                    _ => return Err(wrong()),
                };
                number.checked_mul(1 << shift).ok_or_else(wrong)?
            }
        };
        usize::try_from(bytes).map(Self).map_err(|_| wrong())
    }
}

impl Size {
    /// A size of mebibytes.
    pub const fn mebibytes(count: usize) -> Self {
        Self(count << 20)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => bytes.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let size = |text: &str| serde_json::from_str::<Size>(text).ok().map(|size| size.0);
        assert_eq!((size("\"64KiB\""), size("10"), size("\"1 MiB\"")), (Some(65_536), Some(10), Some(1 << 20)));
        assert_eq!((size("\"64KB\""), size("-1")), (None, None));
    }
}

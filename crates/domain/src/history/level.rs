//! Levels of detail: points as they were recorded, and their roll-ups by minute, hour and day.

/// Level of detail. Each is made from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(rename_all = "lowercase"))]
pub enum Level {
    /// Points as they were recorded.
    Raw,
    /// Buckets of one minute.
    Minute,
    /// Roll-up by hour of the configured time zone.
    Hour,
    /// Roll-up by day of the configured time zone.
    Day,
}

impl Level {
    /// All levels, the finest first.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Minute, Self::Hour, Self::Day];

    /// Levels that are rolled up, in the order in which that is done.
    pub const ROLLED: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Returns the name of the level, as clients write and read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Parses the name of a level.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Returns the level that it is made from; `None` for points.
    pub const fn finer(self) -> Option<Self> {
        match self {
            Self::Raw => None,
            Self::Minute => Some(Self::Raw),
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
        }
    }

    /// Returns the level that is made from it; `None` for days.
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Raw => Some(Self::Minute),
            Self::Minute => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_an_order() {
        for (place, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!((level as usize, Level::parse(level.as_str())), (place, Some(level)));
            assert_eq!(level.finer(), place.checked_sub(1).map(|finer| Level::ALL[finer]));
        }
        assert_eq!(Level::parse("week"), None);
    }
}

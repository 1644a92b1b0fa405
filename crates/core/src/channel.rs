//! Channels and the selectors that subscribe to them. Both can only be built valid.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Channel of the snapshot.
pub const SNAPSHOT: &str = "metrics";

/// Longest channel name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Prefix of the names of channels that are part of the snapshot.
const METRICS: &str = "metrics.";

/// A named stream of one tenant: `[A-Za-z0-9_.:-]{1,128}`, where dots make a hierarchy (`metrics.orders`).
///
/// Cheap to clone; equal by name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// Kind of a channel, fixed by its first publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A current value; a reader that is behind gets the newest one.
    State,
    /// An ordered list; a reader that is behind gets all of them, or a gap.
    Event,
}

/// Reason for the end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ChannelEnd))]
#[serde(rename_all = "lowercase")]
pub enum Gone {
    /// A client deleted it.
    Deleted,
    /// It was not written for its time to live.
    Expired,
}

impl Gone {
    /// All reasons, in the order of their counters in `EndCounts`.
    pub const ALL: [Self; 2] = [Self::Deleted, Self::Expired];

    /// Returns the value as clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
        }
    }
}

/// Reason why a name of a channel, selector or event is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name has more than [`MAX_NAME_BYTES`] bytes.
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// A character outside the allowed set.
    #[error("the name has the character {0:?}; allowed are A-Z a-z 0-9 _ . : -")]
    BadCharacter(char),
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-'))) {
        return Err(NameError::BadCharacter(bad));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    Ok(())
}

impl Channel {
    /// Checks `name` and creates a channel.
    ///
    /// # Errors
    /// [`NameError`] with the fault.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the channel that is easily confused with this one: `metrics.shop` for `shop`, and vice versa. `None` if
    /// that is not a valid name.
    pub fn with_or_without_metrics(&self) -> Option<Self> {
        match self.0.strip_prefix(METRICS) {
            Some(without) => Self::parse(without).ok(),
            None => Self::parse(&format!("{METRICS}{self}")).ok(),
        }
    }
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl serde::Serialize for Channel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Channel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

/// The name of an event (`order_created`): the same characters and length as a channel's name.
///
/// SSE sends it as `event:`, so it can't hold a line end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] with the fault.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for EventName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for EventName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

/// Selection of a subscription: one channel, or all channels below a prefix.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Exactly the channel of this name.
    Exact(Channel),
    /// All channels below a prefix, at any depth, existing or not: `metrics.*`. Contains `metrics.`.
    Below(Arc<str>),
}

impl Selector {
    /// Parses `metrics.orders` or `metrics.*`.
    ///
    /// # Errors
    /// [`NameError`]; a star anywhere but in a final `.*` is a [`NameError::BadCharacter`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.strip_suffix(".*") {
            Some(prefix) => {
                check(prefix)?;
                Ok(Self::Below(format!("{prefix}.").into()))
            }
            None => Channel::parse(text).map(Self::Exact),
        }
    }

    /// Returns whether it names the snapshot, the value of which depends on the reader.
    pub fn is_snapshot(&self) -> bool {
        matches!(self, Self::Exact(channel) if channel.as_str() == SNAPSHOT)
    }

    /// Returns whether it selects `channel`.
    pub fn matches(&self, channel: &Channel) -> bool {
        match self {
            Self::Exact(exact) => exact == channel,
            Self::Below(prefix) => channel.as_str().len() > prefix.len() && channel.as_str().starts_with(&**prefix),
        }
    }

    /// Returns the selectors under which a reader of `channel` can be registered: the channel itself, then each prefix.
    pub fn all_matching(channel: &Channel) -> impl Iterator<Item = Selector> {
        let name = channel.0.clone();
        std::iter::once(Self::Exact(channel.clone())).chain(
            channel
                .0
                .char_indices()
                .filter(move |&(at, c)| c == '.' && at > 0 && at + 1 < name.len())
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
                .into_iter()
                .map({
                    let name = channel.0.clone();
                    move |at| Self::Below(name[..=at].into())
                }),
        )
    }

    /// Returns whether it matches every channel that `other` matches, and more.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(_), Self::Exact(channel)) => self.matches(channel),
            (Self::Below(wide), Self::Below(narrow)) => narrow.len() > wide.len() && narrow.starts_with(&**wide),
            (Self::Exact(_), _) => false,
        }
    }

    /// Returns the length of the match; of two selectors that match the same channel the larger one takes precedence.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(prefix) => prefix.len(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(channel) => f.write_str(channel.as_str()),
            Self::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(Channel::parse(""), Err(NameError::Empty));
        assert_eq!(Channel::parse("a b"), Err(NameError::BadCharacter(' ')));
        assert_eq!(Channel::parse("ä"), Err(NameError::BadCharacter('ä')));
        assert_eq!(Channel::parse(&"x".repeat(129)), Err(NameError::TooLong));
        assert!(Channel::parse(&"x".repeat(128)).is_ok());
        assert!(Channel::parse("entity.shop:eu-1.A_9").is_ok());
        assert!(EventName::parse("order\nid: 1").is_err());
    }

    #[test]
    fn a_star_stands_only_at_the_end_after_a_dot() {
        for bad in ["*", ".*", "a*", "a.*.b", "*.a", "a.**"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
        let below = Selector::parse("metrics.*").unwrap();
        let matches = |name: &str| below.matches(&Channel::parse(name).unwrap());
        assert!(matches("metrics.orders") && matches("metrics.a.b"));
        assert!(!matches("metrics") && !matches("metricsx.a") && !matches("metrics."));
        assert_eq!(below.to_string(), "metrics.*");
    }

    #[test]
    fn every_selector_that_matches_is_found_by_its_key() {
        let channel = Channel::parse("a.b.c").unwrap();
        let keys: Vec<_> = Selector::all_matching(&channel).map(|s| s.to_string()).collect();
        assert_eq!(keys, ["a.b.c", "a.*", "a.b.*"]);
        assert!(Selector::all_matching(&channel).all(|s| s.matches(&channel)));
    }

    #[test]
    fn the_more_specific_of_two_selectors_takes_precedence() {
        let [all, some, one, other] =
            ["metrics.*", "metrics.eu.*", "metrics.eu.a", "entity.*"].map(|text| Selector::parse(text).unwrap());
        assert!(all.specificity() < some.specificity() && some.specificity() < one.specificity());
        for (wide, narrow) in [(&all, &some), (&all, &one), (&some, &one)] {
            assert!(wide.covers(narrow) && !narrow.covers(wide), "{wide} {narrow}");
        }
        for selector in [&all, &some, &one, &other] {
            assert!(!selector.covers(selector) && !other.covers(&all), "{selector}");
        }
    }

    proptest::proptest! {
        /// A reader is registered under its selector and found by the channel alone.
        #[test]
        fn a_channel_is_found_under_every_selector_that_matches_it(name in "[ab.]{1,7}") {
            let channel = Channel::parse(&name).unwrap();
            let found: Vec<_> = Selector::all_matching(&channel).collect();
            let prefixes = (1..name.len()).map(|end| format!("{}.*", &name[..end]));
            for selector in prefixes.chain([name.clone()]).filter_map(|text| Selector::parse(&text).ok()) {
                let count = found.iter().filter(|found| **found == selector).count();
                proptest::prop_assert_eq!(count, usize::from(selector.matches(&channel)), "{}", selector);
            }
        }
    }
}

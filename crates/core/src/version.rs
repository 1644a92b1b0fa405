//! The version of a thing that clients change, and the condition that it has not moved.
//!
//! ```text
//! ETag: "3-19a4f0c2b11"        If-Match: "3-19a4f0c2b11"
//! ```

use std::fmt;

use jiff::Timestamp;

/// Which state of a thing is meant: grows by one with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// 1 for a new thing.
    pub number: u64,
    /// When the thing was made, so that one that took the place of another (after a deletion, after the loss of a store
    /// that was in memory) is never taken for it.
    pub made: Timestamp,
}

impl fmt::Display for Version {
    /// As it stands between the quotes of a strong entity tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.number, self.made.as_millisecond())
    }
}

/// The condition of a change: the thing is still what the client saw (RFC 9110, section 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: it only has to be there.
    Any,
    /// One of these versions, as they were given out.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Whether `version` is one of those meant.
    pub fn holds(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => {
                let version = version.to_string();
                versions.contains(&version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_matches_itself_and_nothing_else() {
        let version = |number, ms| Version { number, made: Timestamp::from_millisecond(ms).unwrap() };
        let seen = IfMatch::OneOf(vec!["x".into(), version(3, 1_000).to_string()]);
        assert!(seen.holds(version(3, 1_000)) && IfMatch::Any.holds(version(9, 9)));
        assert!(!seen.holds(version(4, 1_000)) && !seen.holds(version(3, 1_001)));
        assert!(!IfMatch::OneOf(Vec::new()).holds(version(1, 1)));
    }
}

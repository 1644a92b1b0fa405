//! Version of a resource that clients change, and conditions on it.
//!
//! ```text
//! ETag: "3-19a4f0c2b11"        If-Match: "3-19a4f0c2b11"
//! ```

use std::fmt;

use jiff::Timestamp;

/// Version of a resource: grows by one with each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Number of the version; 1 for a new resource.
    pub number: u64,
    /// Time of creation, which distinguishes a resource from a later one with the same ID (after a deletion, or the loss
    /// of a store in memory).
    pub made: Timestamp,
}

impl fmt::Display for Version {
    /// Formats the version as the opaque part of a strong entity tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.number, self.made.as_millisecond())
    }
}

/// Condition of a change: the resource is still at the version that the client saw (RFC 9110, section 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: the resource has to exist.
    Any,
    /// One of these versions.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Returns whether `version` meets the condition.
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

//! Times to live of channels by pattern, as they are configured.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    channel::{Channel, Selector},
    span::Span,
};

/// Shortest and longest time to live of a channel.
pub const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// Most patterns: each of them is compared with the name of a channel that is written.
const MOST: usize = 1_000;

/// Times to live by pattern: `metrics.ci.*=5m`. The most specific pattern decides about a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelTtls {
    /// The most specific patterns first. Zero: channels of the pattern do not end by themselves.
    rules: Vec<(Selector, Duration)>,
}

impl ChannelTtls {
    /// Parses patterns with their times, such as `metrics.ci.*=5m` or `metrics.daily=0`.
    ///
    /// # Errors
    /// A description of the first fault.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, String> {
        if texts.len() > MOST {
            return Err(format!("has {} patterns; at most {MOST} are possible", texts.len()));
        }
        let mut rules: Vec<(Selector, Duration)> = Vec::with_capacity(texts.len());
        for text in texts.iter().map(AsRef::as_ref) {
            let Some((pattern, ttl)) = text.split_once('=') else {
                return Err(format!("{text:?} is not a pattern with a time: write metrics.ci.*=5m"));
            };
            let selector = Selector::parse(pattern.trim()).map_err(|error| format!("{text:?}: {error}"))?;
            let ttl = Span::parse(ttl.trim()).map_err(|error| format!("{text:?}: {error}"))?.0;
            if !ttl.is_zero() && !TTL.contains(&ttl) {
                return Err(format!("{text:?}: the time has to be between 1s and 366d, or 0"));
            }
            if rules.iter().any(|(other, _)| *other == selector) {
                return Err(format!("{:?} is there twice", pattern.trim()));
            }
            rules.push((selector, ttl));
        }
        rules.sort_by_key(|(selector, _)| std::cmp::Reverse(selector.specificity()));
        Ok(Self { rules })
    }

    /// Returns the time of the most specific pattern that matches `channel`; zero means that it does not end by itself.
    pub fn of(&self, channel: &Channel) -> Option<Duration> {
        self.rules.iter().find(|(selector, _)| selector.matches(channel)).map(|(_, ttl)| *ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_decides() {
        let ttls = ["metrics.*=1h", "metrics.ci.slow=0", "metrics.ci.* = 5m", "job.1=7d"];
        let ttls = ChannelTtls::parse(&ttls).unwrap();
        let of = |name: &str| ttls.of(&Channel::parse(name).unwrap()).map(|ttl| ttl.as_secs());
        assert_eq!((of("metrics.a"), of("metrics.ci"), of("metrics.ci.x")), (Some(3_600), Some(3_600), Some(300)));
        assert_eq!(
            (of("metrics.ci.slow"), of("job.1"), of("job.2"), of("deploys")),
            (Some(0), Some(604_800), None, None)
        );
    }

    #[test]
    fn a_fault_is_named() {
        for (text, part) in [
            ("metrics.ci.*", "write metrics.ci.*=5m"),
            ("metrics.*.x=5m", "'*'"),
            ("a=soon", "soon"),
            ("a=999ms", "between 1s and 366d"),
            ("a=367d", "between 1s and 366d"),
        ] {
            let problem = ChannelTtls::parse(&[text]).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
        assert!(ChannelTtls::parse(&["a=1s", "a=2s"]).unwrap_err().contains("twice"));
        assert!(ChannelTtls::parse(&vec!["a=1s"; 1_001]).is_err());
    }
}

//! Binding of a token to channels: what it may read and push, in place of permissions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use tricast_core::channel::{Channel, NameError, SNAPSHOT, Selector};

/// Most selectors of one list, so that each check stays cheap.
const MAX_SELECTORS: usize = 64;

/// Prefix of the channels of which the snapshot is made.
const METRICS: &str = "metrics.";

/// Channels that the holder of a token may read and push. Everything else is refused, whatever the permission that others
/// need for it. Clones share the lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    read: Arc<[Selector]>,
    push: Arc<[Selector]>,
}

/// Reason why lists of selectors are not a binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBinding {
    /// A selector is not valid.
    #[error("{shown:?}: {error}")]
    Selector {
        /// The selector, cut after 60 characters.
        shown: String,
        /// Description of the fault.
        error: NameError,
    },
    /// A list is too long.
    #[error("there are more than {MAX_SELECTORS} channels in one list")]
    TooMany,
}

/// Binding as tokens and other nodes have it: `{"read": ["orders"], "push": ["metrics.ci.*"]}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct BindingLists {
    /// Selectors of the channels that may be read.
    #[serde(default)]
    pub read: Vec<String>,
    /// Selectors of the channels that may be pushed and deleted.
    #[serde(default)]
    pub push: Vec<String>,
}

impl BindingLists {
    /// Checks the selectors.
    ///
    /// # Errors
    /// [`BadBinding`].
    pub fn parse(&self) -> Result<Binding, BadBinding> {
        Ok(Binding { read: selectors(&self.read)?, push: selectors(&self.push)? })
    }
}

impl From<&Binding> for BindingLists {
    fn from(binding: &Binding) -> Self {
        let texts = |list: &[Selector]| list.iter().map(Selector::to_string).collect();
        Self { read: texts(&binding.read), push: texts(&binding.push) }
    }
}

fn selectors(texts: &[String]) -> Result<Arc<[Selector]>, BadBinding> {
    if texts.len() > MAX_SELECTORS {
        return Err(BadBinding::TooMany);
    }
    let parse = |text: &String| {
        let shown = || text.chars().take(60).collect();
        Selector::parse(text).map_err(|error| BadBinding::Selector { shown: shown(), error })
    };
    texts.iter().map(parse).collect()
}

impl Binding {
    /// Returns whether `channel` may be read. The snapshot `metrics` may be read with `metrics.*` too, since it contains
    /// nothing else.
    pub fn reads(&self, channel: &Channel) -> bool {
        let is_snapshot = channel.as_str() == SNAPSHOT;
        self.read.iter().any(|selector| selector.matches(channel) || (is_snapshot && is_all_metrics(selector)))
    }

    /// Returns whether some channel of `selector` may be read.
    pub fn reads_some_of(&self, selector: &Selector) -> bool {
        match selector {
            Selector::Exact(channel) => self.reads(channel),
            Selector::Below(_) => {
                let overlaps = |own: &Selector| own == selector || own.covers(selector) || selector.covers(own);
                self.read.iter().any(overlaps)
            }
        }
    }

    /// Returns whether an alert about `metric`, a channel and a field (`metrics.api.error_rate`), may be read: the name begins
    /// with a channel that may be.
    pub fn reads_alert_about(&self, metric: &str) -> bool {
        self.read.iter().any(|selector| match selector {
            Selector::Exact(channel) => {
                metric.strip_prefix(channel.as_str()).is_some_and(|field| field.is_empty() || field.starts_with('.'))
            }
            Selector::Below(prefix) => metric.starts_with(&**prefix),
        })
    }

    /// Returns whether some channel of this family may be read: `metrics` itself, or below it.
    pub(super) fn reads_family(&self, family: &str) -> bool {
        self.read.iter().any(|selector| {
            let text = match selector {
                Selector::Exact(channel) => channel.as_str(),
                Selector::Below(prefix) => &**prefix,
            };
            text.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Returns whether `channel` may be pushed and deleted.
    pub fn pushes(&self, channel: &Channel) -> bool {
        self.push.iter().any(|selector| selector.matches(channel))
    }

    /// Returns whether there is a channel that may be pushed.
    pub fn pushes_any(&self) -> bool {
        !self.push.is_empty()
    }
}

/// Returns whether `selector` matches every channel that the snapshot contains.
fn is_all_metrics(selector: &Selector) -> bool {
    matches!(selector, Selector::Below(prefix) if &**prefix == METRICS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(read: &[&str], push: &[&str]) -> Binding {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        BindingLists { read: texts(read), push: texts(push) }.parse().unwrap()
    }

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    #[test]
    fn only_matching_channels_are_read_and_pushed() {
        let bound = binding(&["orders", "metrics.shop.*"], &["metrics.ci.*", "deploys"]);
        for (name, reads, pushes) in [
            ("orders", true, false),
            ("orders.eu", false, false),
            ("metrics.shop.a", true, false),
            ("metrics.shop.a.b", true, false),
            ("metrics.shop", false, false),
            ("metrics.shopping.a", false, false),
            ("metrics.ci.build", false, true),
            ("metrics.ci", false, false),
            ("deploys", false, true),
            ("metrics", false, false),
            ("system", false, false),
            ("alerts", false, false),
        ] {
            assert_eq!((bound.reads(&channel(name)), bound.pushes(&channel(name))), (reads, pushes), "{name}");
        }
        let families = ["metrics", "alerts", "orders", "system"].map(|family| bound.reads_family(family));
        assert_eq!(families, [true, false, true, false]);
        assert!(bound.pushes_any() && !binding(&["a"], &[]).pushes_any());
    }

    #[test]
    fn a_wildcard_needs_one_channel_in_common() {
        let bound = binding(&["orders", "metrics.shop.*", "a.b"], &[]);
        for (selector, readable) in [
            ("metrics.*", true),
            ("metrics.shop.*", true),
            ("metrics.shop.eu.*", true),
            ("metrics.other.*", false),
            ("metrics.shopping.*", false),
            ("orders.*", false),
            ("a.*", true),
            ("a.b.*", false),
            ("a.b", true),
            ("a.c", false),
        ] {
            assert_eq!(bound.reads_some_of(&Selector::parse(selector).unwrap()), readable, "{selector}");
        }
    }

    #[test]
    fn the_snapshot_needs_its_name_or_all_metrics() {
        let snapshot = channel(SNAPSHOT);
        assert!(binding(&["metrics"], &[]).reads(&snapshot) && binding(&["metrics.*"], &[]).reads(&snapshot));
        assert!(!binding(&["metrics.a.*"], &["metrics.*"]).reads(&snapshot));
        assert!(!binding(&["metrics"], &[]).reads(&channel("metrics.a")), "a channel of its own");
    }

    #[test]
    fn alerts_are_read_about_readable_channels() {
        let bound = binding(&["metrics.api", "metrics.shop.*"], &[]);
        for (metric, readable) in [
            ("metrics.api.error_rate", true),
            ("metrics.api", true),
            ("metrics.apis.error_rate", false),
            ("metrics.shop.eu.x", true),
            ("metrics.business.revenue_today", false),
        ] {
            assert_eq!(bound.reads_alert_about(metric), readable, "{metric}");
        }
    }

    #[test]
    fn bad_lists_are_refused_with_the_fault() {
        let lists = |read: Vec<String>| BindingLists { read, push: Vec::new() };
        let error = lists(vec!["a".into(), "metrics*".into()]).parse().unwrap_err();
        assert_eq!(error.to_string(), "\"metrics*\": the name has the character '*'; allowed are A-Z a-z 0-9 _ . : -");
        assert!(lists(vec!["*".into()]).parse().is_err() && lists(vec![String::new()]).parse().is_err());
        assert!(lists(vec!["a".into(); MAX_SELECTORS]).parse().is_ok());
        assert_eq!(lists(vec!["a".into(); MAX_SELECTORS + 1]).parse(), Err(BadBinding::TooMany));
        let bound = binding(&["orders", "metrics.*"], &["deploys"]);
        assert_eq!(BindingLists::from(&bound).parse(), Ok(bound));
    }
}

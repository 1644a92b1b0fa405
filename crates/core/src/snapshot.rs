//! Assembly of the snapshot: the value of the channel `metrics`.
//!
//! ```json
//! {"api":{...},"business":{...},"custom":{"checkout":{...}},"database":{...},"infrastructure":{...}}
//! ```
//!
//! It is assembled from the newest values on first use, so a thousand pushes between two reads cost one assembly.

use std::borrow::Cow;

pub use super::channel::SNAPSHOT;
use super::{
    built_in::{self, CHANNELS},
    channel::Channel,
    publication::Publication,
};

/// Section that only readers of orders may see.
const BUSINESS: &str = "metrics.business";

/// Visible part of the snapshot. Encodings exist once per view, not once per reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All sections of the snapshot.
    #[default]
    Full,
    /// `business` is `null`: its reader may not see `metrics.business`.
    WithoutBusiness,
}

impl View {
    /// All views, in the order of their indices.
    pub(super) const ALL: [Self; 2] = [Self::Full, Self::WithoutBusiness];
    /// Number of views, which is the length of arrays with an element per view.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// Returns the view of a reader with the channels that `allows` returns true for.
    pub fn of(allows: impl FnOnce(&Channel) -> bool) -> Self {
        let business = Channel::parse(BUSINESS).unwrap_or_else(|_| unreachable!("a valid name"));
        if allows(&business) { Self::Full } else { Self::WithoutBusiness }
    }

    /// Returns whether this view contains the value of `channel`.
    pub(super) fn shows(self, channel: &Channel) -> bool {
        (self == Self::Full || channel.as_str() != BUSINESS) && place(channel).is_some()
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Location of a channel's value in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A section of its own.
    Section(&'static str),
    /// Under `custom`, by this name.
    Custom(&'a str),
}

/// Returns the location of `channel` in the snapshot, if it has one: built-in channels with a section, and pushed metrics.
pub fn place(channel: &Channel) -> Option<Place<'_>> {
    if let Some(built_in) = built_in::find(channel) {
        return built_in.section.map(Place::Section);
    }
    channel.as_str().strip_prefix("metrics.").filter(|rest| !rest.is_empty()).map(Place::Custom)
}

/// Returns the canonical JSON of one view of the snapshot with the newest values `latest`, which are sorted by channel.
/// Every section is present; it is `null` until its source has published.
pub fn assemble<'a>(latest: impl Iterator<Item = &'a Publication>, view: View) -> String {
    let sections = CHANNELS.iter().filter_map(|built_in| built_in.section);
    let mut sections: Vec<(&str, Cow<'_, str>)> = sections.map(|name| (name, Cow::Borrowed("null"))).collect();
    let mut custom = String::from("{");
    for publication in latest.filter(|publication| view.shows(&publication.channel)) {
        let data = String::from_utf8_lossy(&publication.data);
        match place(&publication.channel) {
            Some(Place::Section(section)) => {
                if let Some((_, value)) = sections.iter_mut().find(|(name, _)| *name == section) {
                    *value = data;
                }
            }
            Some(Place::Custom(name)) => push_member(&mut custom, name, &data),
            None => {}
        }
    }
    custom.push('}');
    sections.push(("custom", custom.into()));
    sections.sort_unstable_by_key(|(name, _)| *name);
    let mut text = String::from("{");
    for (name, value) in &sections {
        push_member(&mut text, name, value);
    }
    text.push('}');
    text
}

/// Appends a member to the text of a JSON object. Names of channels and sections need no escaping.
fn push_member(object: &mut String, name: &str, value: &str) {
    if !object.ends_with('{') {
        object.push(',');
    }
    object.push('"');
    object.push_str(name);
    object.push_str("\":");
    object.push_str(value);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::position::Epoch;

    fn state(channel: &str, data: &'static str) -> Publication {
        let data = Bytes::from_static(data.as_bytes());
        Publication::new(Epoch::random(), Channel::parse(channel).unwrap(), None, 1, Timestamp::UNIX_EPOCH, data)
    }

    #[test]
    fn it_has_every_section_and_keys_in_order() {
        assert_eq!(
            assemble([].into_iter(), View::Full),
            r#"{"api":null,"business":null,"custom":{},"database":null,"infrastructure":null}"#
        );
        let all = [
            state("metrics.a.b", r#"{"x":1}"#),
            state("metrics.api", r#"{"error_rate":0.0}"#),
            state("metrics.checkout", "{}"),
            state("metrics.orders", r#"{"not":"in it"}"#),
            state("entity.shop.1", "{}"),
        ];
        assert_eq!(
            assemble(all.iter(), View::Full),
            r#"{"api":{"error_rate":0.0},"business":null,"custom":{"a.b":{"x":1},"checkout":{}},"database":null,"infrastructure":null}"#
        );
    }

    #[test]
    fn the_business_section_is_null_in_the_other_view() {
        let all = [state("metrics.api", "{}"), state("metrics.business", r#"{"revenue_today":5}"#)];
        assert!(assemble(all.iter(), View::Full).contains("revenue_today"));
        assert_eq!(
            assemble(all.iter(), View::WithoutBusiness),
            r#"{"api":{},"business":null,"custom":{},"database":null,"infrastructure":null}"#
        );
    }

    #[test]
    fn only_metrics_have_a_location() {
        let place = |name: &str| place(&Channel::parse(name).unwrap()).is_some();
        assert!(place("metrics.api") && place("metrics.checkout"));
        assert!(!place("metrics") && !place("metrics.orders") && !place("metrics.") && !place("deploys"));
    }
}

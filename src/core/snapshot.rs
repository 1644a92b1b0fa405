//! The assembled snapshot: the value of the channel `metrics`.
//!
//! ```json
//! {"api":{...},"business":{...},"custom":{"checkout":{...}},"database":{...},"infrastructure":{...}}
//! ```
//!
//! It is put together from the newest values on first use, so a thousand pushes between two looks cost one assembly.

use super::{channel::Channel, publication::Publication, reading::BUILT_IN};

/// The channel whose value is the snapshot.
pub const SNAPSHOT: &str = "metrics";

/// The sections that are always there; `null` until their source has spoken.
const SECTIONS: [(&str, &str); 4] = [
    ("api", "metrics.api"),
    ("business", "metrics.business"),
    ("database", "metrics.database"),
    ("infrastructure", "metrics.infrastructure"),
];

/// The section whose readers need a permission of their own.
const BUSINESS: &str = "metrics.business";

/// How much of the snapshot a reader may see. Encodings exist once per view, not once per reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All of it.
    #[default]
    Full,
    /// `business` is `null`: its reader may not see `metrics.business`.
    WithoutBusiness,
}

impl View {
    /// All views, in the order of their indices.
    pub(super) const ALL: [Self; 2] = [Self::Full, Self::WithoutBusiness];
    /// Number of views.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// The view of a reader that is allowed the channels that `allows` says.
    pub fn of(allows: impl FnOnce(&Channel) -> bool) -> Self {
        let business = Channel::parse(BUSINESS).unwrap_or_else(|_| unreachable!("a valid name"));
        if allows(&business) { Self::Full } else { Self::WithoutBusiness }
    }

    /// Whether the value of `channel` is part of this view of the snapshot.
    pub(super) fn shows(self, channel: &Channel) -> bool {
        (self == Self::Full || channel.as_str() != BUSINESS) && place(channel).is_some()
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Where a channel stands in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A section of its own.
    Section(&'a str),
    /// Under `custom`, by this name.
    Custom(&'a str),
}

/// Where `channel` stands in the snapshot, if it does.
pub fn place(channel: &Channel) -> Option<Place<'_>> {
    let name = channel.as_str();
    if let Some((section, _)) = SECTIONS.iter().find(|(_, source)| *source == name) {
        return Some(Place::Section(section));
    }
    if BUILT_IN.contains(&name) {
        return None;
    }
    name.strip_prefix("metrics.").filter(|rest| !rest.is_empty()).map(Place::Custom)
}

/// The canonical JSON of one view of the snapshot, of the newest values `latest`, which come sorted by channel.
pub fn assemble<'a>(latest: impl Iterator<Item = &'a Publication>, view: View) -> String {
    let mut sections: [&[u8]; SECTIONS.len()] = [b"null"; SECTIONS.len()];
    let mut custom = String::new();
    for publication in latest.filter(|publication| view.shows(&publication.channel)) {
        match place(&publication.channel) {
            Some(Place::Section(section)) => {
                if let Some(at) = SECTIONS.iter().position(|(name, _)| *name == section) {
                    sections[at] = &publication.data;
                }
            }
            Some(Place::Custom(name)) => {
                if !custom.is_empty() {
                    custom.push(',');
                }
                // Channel names need no escaping in JSON.
                custom.push('"');
                custom.push_str(name);
                custom.push_str("\":");
                custom.push_str(&String::from_utf8_lossy(&publication.data));
            }
            None => {}
        }
    }
    let text = |section: usize| String::from_utf8_lossy(sections[section]);
    format!(
        "{{\"api\":{},\"business\":{},\"custom\":{{{custom}}},\"database\":{},\"infrastructure\":{}}}",
        text(0),
        text(1),
        text(2),
        text(3)
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::core::position::Epoch;

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
    fn only_metrics_have_a_place() {
        let place = |name: &str| place(&Channel::parse(name).unwrap()).is_some();
        assert!(place("metrics.api") && place("metrics.checkout"));
        assert!(!place("metrics") && !place("metrics.orders") && !place("metrics.") && !place("deploys"));
    }
}

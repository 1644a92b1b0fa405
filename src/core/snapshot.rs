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

/// The snapshot's canonical JSON, of the newest values `latest`, which come sorted by channel.
pub fn assemble<'a>(latest: impl Iterator<Item = &'a Publication>) -> String {
    let mut sections: [&[u8]; SECTIONS.len()] = [b"null"; SECTIONS.len()];
    let mut custom = String::new();
    for publication in latest {
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
            assemble([].into_iter()),
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
            assemble(all.iter()),
            r#"{"api":{"error_rate":0.0},"business":null,"custom":{"a.b":{"x":1},"checkout":{}},"database":null,"infrastructure":null}"#
        );
    }

    #[test]
    fn only_metrics_have_a_place() {
        let place = |name: &str| place(&Channel::parse(name).unwrap()).is_some();
        assert!(place("metrics.api") && place("metrics.checkout"));
        assert!(!place("metrics") && !place("metrics.orders") && !place("metrics.") && !place("deploys"));
    }
}

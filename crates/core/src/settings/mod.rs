//! Settings: their declaration, their values, and the limits that several parts of the server share.
//!
//! [`section!`](crate::section) makes of one declaration the struct that a part uses, its defaults, its checks of ranges, and the
//! list that the reference page, the names in the environment and "did you mean" are made from. A section that one part uses is
//! declared in that part. Reading files and the environment is the task of the server (`config`).

use std::{
    any::TypeId,
    fmt::Display,
    ops::{RangeFrom, RangeInclusive},
};

mod host;
mod limits;
mod secret;
mod size;

pub use host::is_loopback;
pub use limits::{Heartbeat, Limits};
pub use secret::{RedactedUrl, Secret, without_logins};
pub use size::Size;

use crate::span::Span;

/// Prefix of all names in the environment.
pub const PREFIX: &str = "TRICAST_";

/// One setting, as it is declared.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Key with dots between the levels: `limits.max_body`.
    pub key: String,
    /// Documentation: one paragraph of Markdown whose first sentence says what the setting is.
    pub doc: String,
    /// Whether its value is a [`Secret`].
    pub is_secret: bool,
    /// Whether its value is a [`Span`].
    pub is_span: bool,
}

impl Setting {
    /// Returns its name in the environment: `TRICAST_LIMITS__MAX_BODY`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.replace('.', "__").to_uppercase())
    }

    /// Returns its last part: `max_body`.
    pub fn name(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or(&self.key)
    }

    /// Returns the first sentence of its documentation as plain text, for the help of a flag.
    pub fn summary(&self) -> String {
        let sentence = self.doc.split(". ").next().unwrap_or(&self.doc);
        sentence.trim_end_matches('.').replace('`', "")
    }
}

/// A fault of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `limits.max_body`; empty for the file as a whole.
    pub key: String,
    /// Origin of the value: `tricast.toml`, a name in the environment, or a flag. Empty for a combination of settings.
    pub source: String,
    /// Description of the fault, and how to correct it.
    pub problem: String,
}

/// Settings that belong together. [`section!`](crate::section) implements it.
pub trait Section {
    /// Appends its settings to `settings`; their keys begin with `prefix`.
    fn describe(prefix: &str, settings: &mut Vec<Setting>);

    /// Reports the values that are out of their range.
    fn check_ranges(&self, prefix: &str, faults: &mut FaultList);
}

/// Faults found in a configuration that was read.
#[derive(Default)]
pub struct FaultList(pub Vec<Fault>);

impl FaultList {
    /// Adds a fault of the setting `key`.
    pub fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.0.push(Fault { key: key.into(), source: String::new(), problem: problem.into() });
    }

    /// Adds a fault of the setting `key` if there is a problem.
    pub fn add_err<T>(&mut self, key: &str, result: Result<T, impl Into<String>>) {
        if let Err(problem) = result {
            self.add(key, problem);
        }
    }
}

/// The values that a setting may have.
pub trait Range<T> {
    /// Returns what is wrong with `value`, if it is outside.
    fn problem(&self, value: &T) -> Option<String>;
}

impl<T: PartialOrd + Display> Range<T> for RangeInclusive<T> {
    fn problem(&self, value: &T) -> Option<String> {
        (!self.contains(value)).then(|| format!("has to be between {} and {}", self.start(), self.end()))
    }
}

impl<T: PartialOrd + Display> Range<T> for RangeFrom<T> {
    fn problem(&self, value: &T) -> Option<String> {
        (!self.contains(value)).then(|| format!("has to be at least {}", self.start))
    }
}

/// A range, and zero besides, which has a meaning of its own.
pub struct OrZero<R>(pub R);

impl<T: PartialEq + Default, R: Range<T>> Range<T> for OrZero<R> {
    fn problem(&self, value: &T) -> Option<String> {
        if *value == T::default() { None } else { self.0.problem(value).map(|problem| format!("{problem}, or 0")) }
    }
}

/// Makes a [`Setting`] of a field of type `T`.
pub fn setting<T: 'static>(prefix: &str, field: &str, doc: &str) -> Setting {
    let is = |other: TypeId| TypeId::of::<T>() == other;
    Setting {
        key: format!("{prefix}{field}"),
        doc: doc.trim().into(),
        is_secret: is(TypeId::of::<Secret>()),
        is_span: is(TypeId::of::<Span>()),
    }
}

/// Declares a section of the configuration.
///
/// A field is a setting: its documentation (the reference page shows it), optionally the range of its values, its name and type,
/// and its default. Fields under `sections` are sections themselves; those under `other` are not settings.
///
/// ```text
/// section! {
///     /// The heartbeat of WebSockets.
///     pub struct Heartbeat {
///         /// Time between two pings of a WebSocket.
///         #[range(Span::from_secs(1)..=Span::from_secs(300))]
///         interval: Span = Span::from_secs(25),
///     }
/// }
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[range($range:expr)])?
                $field:ident: $type:ty = $default:expr
            ),* $(,)?
        }
        $(sections {
            $( $(#[doc = $section_doc:literal])+ $section:ident: $section_type:ty ),* $(,)?
        })?
        $(other {
            $( $(#[$other_meta:meta])+ $other:ident: $other_type:ty ),* $(,)?
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize, PartialEq)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $($( $(#[doc = $section_doc])+ pub $section: $section_type, )*)?
            $($( $(#[$other_meta])+ pub $other: $other_type, )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $($( $section: Default::default(), )*)?
                    $($( $other: Default::default(), )*)?
                }
            }
        }

        impl $crate::settings::Section for $name {
            fn describe(prefix: &str, settings: &mut Vec<$crate::settings::Setting>) {
                $( settings.push($crate::settings::setting::<$type>(prefix, stringify!($field), concat!($($doc),+))); )*
                $($(
                    <$section_type>::describe(&format!("{prefix}{}.", stringify!($section)), settings);
                )*)?
            }

            fn check_ranges(&self, prefix: &str, faults: &mut $crate::settings::FaultList) {
                $($(
                    if let Some(problem) = $crate::settings::Range::problem(&($range), &self.$field) {
                        faults.add(&format!("{prefix}{}", stringify!($field)), problem);
                    }
                )?)*
                $($( self.$section.check_ranges(concat!(stringify!($section), "."), faults); )*)?
                // A section without ranges uses neither.
                let _ = (prefix, faults);
            }
        }
    };
}

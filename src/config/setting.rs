//! Declaration of settings: [`section!`] makes of one declaration the struct, its defaults, its checks of ranges, and the
//! list that the reference page, the names in the environment and "did you mean" are made from.

use std::{
    any::TypeId,
    fmt::Display,
    ops::{RangeFrom, RangeInclusive},
    sync::LazyLock,
};

use super::{Config, Fault, Secret, Span};

/// Prefix of all names in the environment.
pub(super) const PREFIX: &str = "TRICAST_";

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

/// Every setting, in the order of the reference page.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let mut settings = Vec::new();
    Config::describe("", &mut settings);
    settings
});

impl Setting {
    /// Returns the setting of this key, if there is one.
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

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

/// Settings that belong together. [`section!`] implements it.
pub(super) trait Section {
    /// Appends its settings to `settings`; their keys begin with `prefix`.
    fn describe(prefix: &str, settings: &mut Vec<Setting>);

    /// Reports the values that are out of their range.
    fn check_ranges(&self, prefix: &str, faults: &mut FaultList);
}

/// Faults found in a configuration that was read.
#[derive(Default)]
pub(super) struct FaultList(pub(super) Vec<Fault>);

impl FaultList {
    /// Adds a fault of the setting `key`.
    pub(super) fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.0.push(Fault { key: key.into(), source: String::new(), problem: problem.into() });
    }

    /// Adds a fault of the setting `key` if there is a problem.
    pub(super) fn add_err<T>(&mut self, key: &str, result: Result<T, impl Into<String>>) {
        if let Err(problem) = result {
            self.add(key, problem);
        }
    }
}

/// The values that a setting may have.
pub(super) trait Range<T> {
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
pub(super) struct OrZero<R>(pub(super) R);

impl<T: PartialEq + Default, R: Range<T>> Range<T> for OrZero<R> {
    fn problem(&self, value: &T) -> Option<String> {
        if *value == T::default() { None } else { self.0.problem(value).map(|problem| format!("{problem}, or 0")) }
    }
}

/// Makes a [`Setting`] of a field of type `T`.
pub(super) fn setting<T: 'static>(prefix: &str, field: &str, doc: &str) -> Setting {
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
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])*
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
            $( $(#[doc = $doc])+ $(#[serde($($serde)*)])* pub $field: $type, )*
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

        impl $crate::config::setting::Section for $name {
            fn describe(prefix: &str, settings: &mut Vec<$crate::config::setting::Setting>) {
                $( settings.push($crate::config::setting::setting::<$type>(prefix, stringify!($field), concat!($($doc),+))); )*
                $($(
                    <$section_type>::describe(&format!("{prefix}{}.", stringify!($section)), settings);
                )*)?
            }

            fn check_ranges(&self, prefix: &str, faults: &mut $crate::config::setting::FaultList) {
                $($(
                    if let Some(problem) = $crate::config::setting::Range::problem(&($range), &self.$field) {
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

pub(super) use section;

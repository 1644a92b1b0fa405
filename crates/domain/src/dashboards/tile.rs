//! A tile of a board.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::DashboardError;
#[cfg(feature = "openapi")]
use crate::openapi::{FieldName, Id, Text};
use tricast_core::{channel::Channel, depth};

/// Largest length of a title, in bytes.
const MAX_TITLE: usize = 200;

/// Largest length of the name of a field, in bytes.
const MAX_FIELD: usize = 256;

/// Largest number of fields of one tile.
const MAX_FIELDS: usize = 32;

/// Largest width or height, in cells of the grid.
const MAX_CELLS: u8 = 12;

/// Largest size of the options as JSON, in bytes.
const MAX_OPTIONS: usize = 2_048;

/// Presentation of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = TileType))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.3")]
pub enum TileKind {
    Number,
    Chart,
    Gauge,
    Bar,
    State,
    Status,
    Table,
    Channels,
    Nodes,
    Alerts,
    Text,
    Markdown,
}

/// A tile of a dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"id": "cpu", "type": "chart", "title": "CPU",
    "channel": "metrics.infrastructure", "field": "cpu_usage"})))]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// ID within the dashboard: `[A-Za-z0-9_-]{1,64}`.
    #[cfg_attr(feature = "openapi", schema(value_type = Id))]
    pub id: String,
    /// Kind, which determines how the values are shown.
    #[serde(rename = "type")]
    pub kind: TileKind,
    /// Title, 1 to 200 bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = Text))]
    pub title: String,
    /// Channel of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<tricast_core::openapi::ChannelName>))]
    pub channel: Option<String>,
    /// Field of the channel's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<FieldName>))]
    pub field: Option<String>,
    /// Fields of the channel's value, at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<Vec<FieldName>>, min_items = 1, max_items = 32))]
    pub fields: Option<Vec<String>>,
    /// Width in cells of the grid, 1 to 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, minimum = 1, maximum = 12))]
    pub width: Option<u8>,
    /// Height in cells of the grid, 1 to 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, minimum = 1, maximum = 12))]
    pub height: Option<u8>,
    /// Display options of the page, at most 2 KiB of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub options: Option<Map<String, Value>>,
}

/// Tile to add; one without an id is given one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct NewTile(pub Map<String, Value>);

/// Returns whether `id` is a valid id of a board or a tile.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn is_text(text: &str, max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

/// Returns a unique id for a board or a tile that came without one.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}-{:016x}", tricast_core::ids::random_u64())
}

impl NewTile {
    /// Creates the tile, checked.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field.
    pub fn build(self) -> Result<Tile, DashboardError> {
        let mut fields = self.0;
        fields.entry("id").or_insert_with(|| new_id("tile").into());
        Tile::read(fields)
    }
}

impl Tile {
    /// Creates a tile from its fields, checked.
    fn read(fields: Map<String, Value>) -> Result<Self, DashboardError> {
        let tile: Self = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let place = error.path().to_string();
            let place = if place == "." { "tile".into() } else { place };
            DashboardError::invalid(format!("{place}: {}", error.inner()))
        })?;
        tile.check().map(|()| tile)
    }

    /// Returns the tile with `changes` applied: each field is replaced as a whole, and removed by `null`.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field; the id of a tile can't change.
    pub fn merged(&self, changes: Map<String, Value>) -> Result<Self, DashboardError> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            return Err(DashboardError::invalid("tile: not an object"));
        };
        for (name, value) in changes {
            if value.is_null() {
                fields.remove(&name);
            } else {
                fields.insert(name, value);
            }
        }
        let tile = Self::read(fields)?;
        if tile.id == self.id { Ok(tile) } else { Err(DashboardError::invalid("id: the ID of a tile cannot change")) }
    }

    /// Checks the bounds that types don't express.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), DashboardError> {
        let fault = |condition: bool, text: &str| if condition { Err(DashboardError::invalid(text)) } else { Ok(()) };
        fault(!is_id(&self.id), "id: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")?;
        fault(!is_text(&self.title, MAX_TITLE), "title: 1 to 200 bytes without control characters")?;
        if let Some(channel) = &self.channel {
            Channel::parse(channel).map_err(|error| DashboardError::invalid(format!("channel: {error}")))?;
        }
        let is_field = |field: &String| is_text(field, MAX_FIELD);
        fault(!self.field.iter().all(is_field), "field: 1 to 256 bytes without control characters")?;
        if let Some(fields) = &self.fields {
            fault(fields.is_empty() || fields.len() > MAX_FIELDS, "fields: 1 to 32 names")?;
            fault(!fields.iter().all(is_field), "fields: each 1 to 256 bytes without control characters")?;
        }
        let is_size = |size: &u8| (1..=MAX_CELLS).contains(size);
        fault(!self.width.iter().all(is_size), "width: 1 to 12")?;
        fault(!self.height.iter().all(is_size), "height: 1 to 12")?;
        if let Some(options) = &self.options {
            let length = serde_json::to_vec(options).map_or(usize::MAX, |text| text.len());
            fault(length > MAX_OPTIONS, "options: at most 2 KiB of JSON")?;
            let too_deep = format!("options: at most {} objects and arrays inside each other", depth::MAX_DEPTH);
            fault(depth::is_too_deep(options), &too_deep)?;
        }
        Ok(())
    }
}

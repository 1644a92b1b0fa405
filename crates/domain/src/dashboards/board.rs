//! Dashboards as boards of tiles, and their bounds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    DashboardError, NewTile, Tile,
    tile::{is_id, is_text, new_id},
};
#[cfg(feature = "openapi")]
use crate::openapi::{Id, Text};
use tricast_core::version::Version;

/// Largest number of boards of one tenant.
pub(super) const MAX_BOARDS: usize = 100;

/// Largest number of tiles of one board.
const MAX_TILES: usize = 50;

/// Largest length of a name, in bytes.
const MAX_NAME: usize = 200;

/// Largest size of a board as JSON, in bytes, so that a list of all boards stays below some megabytes.
const MAX_BOARD: usize = 64 * 1024;

/// A named set of tiles on a grid, with a version that grows with each change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Dashboard, example = json!({"id": "shop", "name": "Shop", "tiles": [{"id": "cpu",
    "type": "chart", "title": "CPU", "channel": "metrics.infrastructure", "field": "cpu_usage"}], "version": 1})))]
pub struct Board {
    /// ID of the dashboard, `[A-Za-z0-9_-]{1,64}`, unique in its tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = Id))]
    pub id: String,
    /// Name for people to read.
    #[cfg_attr(feature = "openapi", schema(value_type = Text))]
    pub name: String,
    /// Tiles in the order in which they are shown; each ID occurs once.
    pub tiles: Vec<Tile>,
    /// Version: 1 for a new dashboard; grows by one with each change.
    pub version: u64,
    /// Time of creation, in whole milliseconds.
    #[serde(skip)]
    pub made: Timestamp,
}

/// A new dashboard, or the replacement of one; at most 64 KiB of JSON.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = NewDashboard, example = json!({"name": "Shop", "tiles": [{"type": "number",
    "title": "Orders today", "channel": "metrics.orders", "field": "ordersToday"}]})))]
#[serde(deny_unknown_fields)]
pub struct NewBoard {
    /// ID. Without one the server assigns an ID.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Id>))]
    pub id: Option<String>,
    /// Name for people to read.
    #[cfg_attr(feature = "openapi", schema(value_type = Text))]
    pub name: String,
    /// Tiles with unique IDs; none if left out.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 50))]
    pub tiles: Vec<NewTile>,
    /// Version that a replacement requires: 412 if the dashboard has another one. Ignored on creation.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64"))]
    pub version: Option<u64>,
}

impl NewBoard {
    /// Creates a board.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field.
    pub fn build(self, made: Timestamp) -> Result<Board, DashboardError> {
        let id = self.id.clone().unwrap_or_else(|| new_id("board"));
        self.build_at(id, 1, made)
    }

    /// Creates the next version of `board`.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field; [`DashboardError::Moved`] if the client has seen another
    /// version.
    pub(super) fn replace(self, board: &Board) -> Result<Board, DashboardError> {
        if self.id.as_ref().is_some_and(|id| *id != board.id) {
            return Err(DashboardError::invalid("id: the ID of a dashboard cannot change"));
        }
        let moved = self.version.is_some_and(|version| version != board.version);
        let next = self.build_at(board.id.clone(), board.version, board.made)?;
        if moved { Err(DashboardError::Moved) } else { Ok(next) }
    }

    fn build_at(self, id: String, version: u64, made: Timestamp) -> Result<Board, DashboardError> {
        // Checked before each tile is.
        check_count(self.tiles.len())?;
        let mut tiles = Vec::with_capacity(self.tiles.len());
        for (index, tile) in self.tiles.into_iter().enumerate() {
            tiles.push(tile.build().map_err(|error| DashboardError::invalid(format!("tiles[{index}].{error}")))?);
        }
        let board = Board { id, name: self.name, tiles, version, made };
        board.check().map(|()| board)
    }
}

impl Board {
    /// Checks whether the board can be added where the tenant has `count` boards; `taken`: one of them has its id.
    ///
    /// # Errors
    /// [`DashboardError::Taken`] before [`DashboardError::TooMany`].
    pub fn check_room(&self, taken: bool, count: i64, max: usize) -> Result<(), DashboardError> {
        if taken {
            return Err(DashboardError::Taken(self.id.clone()));
        }
        let full = usize::try_from(count).is_ok_and(|count| count >= max);
        if full { Err(DashboardError::TooMany(max)) } else { Ok(()) }
    }

    /// Returns the version, which is compared with `If-Match`.
    pub fn version(&self) -> Version {
        Version { number: self.version, made: self.made }
    }

    /// Checks the bounds of the whole board.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), DashboardError> {
        if !is_id(&self.id) {
            return Err(DashboardError::invalid("id: 1 to 64 characters of A-Z, a-z, 0-9, _ and -"));
        }
        if !is_text(&self.name, MAX_NAME) {
            return Err(DashboardError::invalid("name: 1 to 200 bytes without control characters"));
        }
        check_count(self.tiles.len())?;
        for (index, tile) in self.tiles.iter().enumerate() {
            if self.tiles[..index].iter().any(|other| other.id == tile.id) {
                return Err(DashboardError::invalid(format!("tiles: the ID {:?} occurs twice", tile.id)));
            }
        }
        if serde_json::to_vec(self).map_or(usize::MAX, |text| text.len()) > MAX_BOARD {
            return Err(DashboardError::invalid("a dashboard may have at most 64 KiB of JSON"));
        }
        Ok(())
    }
}

fn check_count(tiles: usize) -> Result<(), DashboardError> {
    if tiles > MAX_TILES { Err(DashboardError::invalid("tiles: at most 50")) } else { Ok(()) }
}

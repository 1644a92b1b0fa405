//! Dashboards: boards of tiles, which all users of a tenant share.
//!
//! [`DashboardService`] is the handle, [`DashboardWriter`] the task that applies all changes one after the other. An
//! [`Edit`] is a pure function from one version of a board to the next. The writer stores its result in a
//! [`DashboardStore`], provided that the stored version is still the one the edit was applied to, together with the event
//! `dashboard_updated`.

mod board;
mod edit;
mod error;
mod first_board;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod store;
mod tile;
mod writer;

pub use board::{Board, NewBoard};
pub use edit::{Action, Edit, Edited};
pub use error::DashboardError;
#[cfg(feature = "openapi")]
pub use schema::TileChanges;
pub use service::DashboardService;
pub use store::{DashboardStore, StoreFuture};
pub use tile::{NewTile, Tile, TileKind};
pub use writer::DashboardWriter;

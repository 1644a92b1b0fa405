//! Boards of tiles: what people look at, kept for everybody of a tenant.
//!
//! [`DashboardService`] is the face of one tenant's boards. A change is an [`Edit`]: a pure function from one board to the
//! next. The service makes them one after the other, keeps the result in a [`DashboardStore`] if the board has not moved in
//! between, and publishes the event `dashboard_updated`.

mod board;
mod edit;
mod error;
mod service;
mod store;
mod tile;

pub use board::{Board, NewBoard};
pub use edit::{Action, Edit, Edited};
pub use error::DashboardError;
pub use service::DashboardService;
pub use store::{Answer, DashboardStore};
pub use tile::{NewTile, Tile, TileKind};

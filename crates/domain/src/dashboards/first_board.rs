//! The board that every tenant starts with: what the server itself measures, what is pushed, and a shop as soon as it has
//! orders.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Board, Tile, TileKind};

/// Id of the board that every tenant starts with.
const DEFAULT: &str = "default";

/// A tile of the board: id, kind, title, channel, field, and its size in cells.
type Row = (&'static str, TileKind, &'static str, &'static str, &'static str, (u8, u8));

/// Tiles of a shop, which the page hides until there is an order.
const SHOP: [Row; 4] = [
    ("orders-today", TileKind::Number, "Orders today", "metrics.orders", "ordersToday", (3, 2)),
    ("revenue-today", TileKind::Number, "Revenue today", "metrics.revenue", "revenueToday", (3, 2)),
    ("order-value", TileKind::Number, "Average order value", "metrics.revenue", "averageOrderValue", (3, 2)),
    ("pending-orders", TileKind::Number, "Pending orders", "metrics.orders", "pendingOrders", (3, 2)),
];

/// Tiles that every server has values for. Each row of the grid has twelve cells, with and without the shop.
const SERVER: [Row; 13] = [
    ("memory", TileKind::Number, "Memory", "metrics.infrastructure", "memory_usage", (3, 2)),
    ("disk", TileKind::Number, "Disk", "metrics.infrastructure", "disk_usage", (3, 2)),
    ("response-time", TileKind::Number, "Response time", "metrics.api", "avg_response_time", (3, 2)),
    ("users-online", TileKind::Number, "Users online", "metrics.users_online", "currentUsers", (3, 2)),
    ("pushed", TileKind::Channels, "Your metrics", "", "", (8, 4)),
    ("alerts", TileKind::Alerts, "Alerts", "alerts", "", (4, 4)),
    ("cpu", TileKind::Chart, "CPU", "metrics.infrastructure", "cpu_usage", (6, 4)),
    ("requests", TileKind::Chart, "Requests per second", "metrics.api", "requests_per_second", (6, 4)),
    ("network", TileKind::Chart, "Network", "metrics.infrastructure", "network_in,network_out", (6, 4)),
    ("queries", TileKind::Chart, "Database queries", "metrics.database", "queries_per_second", (6, 4)),
    ("connections", TileKind::Number, "Database connections", "metrics.database", "connections", (4, 2)),
    ("slow-queries", TileKind::Number, "Slow queries", "metrics.database", "slow_queries", (4, 2)),
    ("cache-hits", TileKind::Number, "Cache hit ratio", "metrics.database", "cache_hit_ratio", (4, 2)),
];

const ORDERS: Row = ("orders", TileKind::Table, "Newest orders", "orders", "", (12, 5));

impl Board {
    /// Creates the board that every tenant starts with.
    pub(super) fn default_at(made: Timestamp) -> Self {
        let shop = |row: &Row| {
            let hidden = Map::from_iter([("whenEmpty".to_owned(), Value::from("hide"))]);
            Tile { options: Some(hidden), ..tile(row) }
        };
        let tiles = SHOP.iter().map(shop).chain(SERVER.iter().map(tile)).chain([shop(&ORDERS)]).collect();
        Self { id: DEFAULT.into(), name: "Overview".into(), tiles, version: 1, made }
    }
}

fn tile(&(id, kind, title, channel, field, (width, height)): &Row) -> Tile {
    let fields: Vec<String> = field.split(',').map(str::to_owned).collect();
    let is_one = fields.len() == 1;
    Tile {
        id: id.into(),
        kind,
        title: title.into(),
        channel: (!channel.is_empty()).then(|| channel.into()),
        field: (is_one && !field.is_empty()).then(|| field.into()),
        fields: (!is_one).then_some(fields),
        width: Some(width),
        height: Some(height),
        options: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tricast_core::built_in;

    #[test]
    fn the_first_board_is_within_its_bounds() {
        let board = Board::default_at(Timestamp::UNIX_EPOCH);
        board.check().unwrap();
        board.tiles.iter().try_for_each(Tile::check).unwrap();
    }

    #[test]
    fn the_first_board_shows_fields_that_the_server_writes() {
        for tile in Board::default_at(Timestamp::UNIX_EPOCH).tiles {
            let channel = tile.channel.unwrap_or_default();
            for field in tile.field.into_iter().chain(tile.fields.into_iter().flatten()) {
                assert!(built_in::field_names(&channel).any(|name| name == field), "{channel} {field}");
            }
        }
    }

    #[test]
    fn the_rows_of_the_first_board_are_full_with_and_without_a_shop() {
        let tiles = Board::default_at(Timestamp::UNIX_EPOCH).tiles;
        for with_shop in [true, false] {
            let shown = tiles.iter().filter(|tile| with_shop || tile.options.is_none());
            let rows = shown.fold((0, true), |(cells, full), tile| {
                let cells = cells + tile.width.unwrap_or_default();
                (cells % 12, full && cells <= 12)
            });
            assert_eq!(rows, (0, true));
        }
    }
}

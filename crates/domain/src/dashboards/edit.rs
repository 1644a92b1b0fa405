//! Changes of a board: pure functions from one version to the next.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Board, DashboardError, NewBoard, NewTile, Tile};

/// Change of a board that exists.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Replaces name and tiles.
    Replace(NewBoard),
    /// Deletes the board with its tiles.
    Delete,
    /// Adds a tile at the end.
    AddTile(NewTile),
    /// Replaces some fields of a tile, and removes those that are `null`.
    ChangeTile {
        /// Id of the tile.
        id: String,
        /// Fields with their new values.
        changes: Map<String, Value>,
    },
    /// Removes the tile with this id.
    RemoveTile(String),
    /// Puts all tiles in another order.
    Reorder(Vec<String>),
}

/// Kind of change, as the event `dashboard_updated` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented in docs/protocol.md, section 6.3")]
pub enum Action {
    Created,
    Updated,
    Deleted,
    TileAdded,
    TileUpdated,
    TileRemoved,
    TilesReordered,
}

/// Board after an edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The new version; of a deleted board, the version that ended it.
    pub board: Board,
    /// Kind of change; `None` if the board is as before: it stays at its version.
    pub action: Option<Action>,
    /// Tile that was changed.
    pub tile: Option<Tile>,
}

impl Edit {
    /// Applies the edit to `board`.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], [`DashboardError::NoTile`], [`DashboardError::Taken`], [`DashboardError::Moved`].
    pub fn apply(self, board: &Board) -> Result<Edited, DashboardError> {
        let mut next = board.clone();
        let (action, tile) = match self {
            Self::Replace(new) => {
                next = new.replace(board)?;
                (Action::Updated, None)
            }
            Self::Delete => {
                next.version += 1;
                return Ok(Edited { board: next, action: Some(Action::Deleted), tile: None });
            }
            Self::AddTile(tile) => {
                let tile = tile.build()?;
                if next.tiles.iter().any(|other| other.id == tile.id) {
                    return Err(DashboardError::Taken(tile.id));
                }
                next.tiles.push(tile.clone());
                (Action::TileAdded, Some(tile))
            }
            Self::ChangeTile { id, changes } => {
                let place = next.tiles.iter_mut().find(|tile| tile.id == id).ok_or(DashboardError::NoTile)?;
                *place = place.merged(changes)?;
                (Action::TileUpdated, Some(place.clone()))
            }
            Self::RemoveTile(id) => {
                let index = next.tiles.iter().position(|tile| tile.id == id).ok_or(DashboardError::NoTile)?;
                (Action::TileRemoved, Some(next.tiles.remove(index)))
            }
            Self::Reorder(order) => {
                next.tiles = reorder(&next.tiles, &order)?;
                (Action::TilesReordered, None)
            }
        };
        next.check()?;
        if next == *board {
            return Ok(Edited { board: next, action: None, tile });
        }
        next.version += 1;
        Ok(Edited { board: next, action: Some(action), tile })
    }
}

fn reorder(tiles: &[Tile], order: &[String]) -> Result<Vec<Tile>, DashboardError> {
    let wrong = || DashboardError::invalid("order: has to name each tile of the dashboard once");
    if order.len() != tiles.len() {
        return Err(wrong());
    }
    let mut ordered: Vec<Tile> = Vec::with_capacity(tiles.len());
    for id in order {
        let tile = tiles.iter().find(|tile| tile.id == *id).ok_or_else(wrong)?;
        if ordered.iter().any(|other| other.id == *id) {
            return Err(wrong());
        }
        ordered.push(tile.clone());
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn board() -> Board {
        Board::default_at(Timestamp::UNIX_EPOCH)
    }

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("an object") };
        fields
    }

    fn add(tile: Value) -> Edit {
        Edit::AddTile(NewTile(fields(tile)))
    }

    #[test]
    fn a_tile_is_added_changed_and_removed() {
        let added = add(json!({"type": "number", "title": "Load", "channel": "metrics.web"})).apply(&board()).unwrap();
        let tile = added.tile.unwrap();
        assert_eq!((added.action, added.board.version), (Some(Action::TileAdded), 2));
        let changes = fields(json!({"title": "Load now", "channel": null, "options": {"unit": "%"}}));
        let changed = Edit::ChangeTile { id: tile.id.clone(), changes: changes.clone() }.apply(&added.board).unwrap();
        let after = changed.tile.unwrap();
        assert_eq!((&after.id, after.title.as_str(), &after.channel), (&tile.id, "Load now", &None));
        assert_eq!((changed.action, changed.board.version), (Some(Action::TileUpdated), 3));
        let again = Edit::ChangeTile { id: tile.id.clone(), changes }.apply(&changed.board).unwrap();
        assert_eq!((again.action, &again.board), (None, &changed.board), "repeating a change has no effect");
        let removed = Edit::RemoveTile(tile.id.clone()).apply(&changed.board).unwrap();
        assert_eq!((removed.action, removed.board.tiles.len()), (Some(Action::TileRemoved), board().tiles.len()));
        assert_eq!(Edit::RemoveTile(tile.id).apply(&removed.board), Err(DashboardError::NoTile));
    }

    #[test]
    fn an_invalid_field_is_named_in_the_error() {
        let good = json!({"id": "a", "type": "chart", "title": "A"});
        for (name, value) in [
            ("id", json!("a b")),
            ("id", json!("x".repeat(65))),
            ("type", json!("pie")),
            ("title", json!(" ")),
            ("title", json!("x".repeat(201))),
            ("title", json!("a\u{1b}[31m")),
            ("channel", json!("a b")),
            ("field", json!("")),
            ("fields", json!([])),
            ("fields", json!(vec!["x"; 33])),
            ("width", json!(0)),
            ("height", json!(13)),
            ("options", json!({"x": "y".repeat(2_048)})),
            ("options", json!([1])),
            ("colour", json!("red")),
        ] {
            let mut tile = fields(good.clone());
            tile.insert(name.into(), value.clone());
            let refused = Edit::AddTile(NewTile(tile)).apply(&board());
            assert!(
                matches!(&refused, Err(DashboardError::Invalid(text)) if text.contains(name)),
                "{name}: {refused:?}"
            );
        }
        assert_eq!(
            add(json!({"id": "cpu", "type": "text", "title": "x"})).apply(&board()),
            Err(DashboardError::Taken("cpu".into()))
        );
        let mut full = board();
        while full.tiles.len() < 50 {
            full = add(json!({"type": "text", "title": "x"})).apply(&full).unwrap().board;
        }
        assert!(add(json!({"type": "text", "title": "x"})).apply(&full).is_err());
        let heavy = json!({"type": "text", "title": "x", "options": {"x": "y".repeat(2_000)}});
        let mut board = Board { tiles: Vec::new(), ..board() };
        let refused = loop {
            match add(heavy.clone()).apply(&board) {
                Ok(edited) => board = edited.board,
                Err(error) => break error,
            }
        };
        assert!(refused.to_string().contains("64 KiB"), "{refused}");
    }

    #[test]
    fn limits_of_a_board_are_inclusive() {
        for (name, value) in [
            ("id", json!("x".repeat(64))),
            ("title", json!("x".repeat(200))),
            ("field", json!("x".repeat(256))),
            ("fields", json!(vec!["x"; 32])),
            ("width", json!(12)),
            ("height", json!(1)),
            ("options", json!({"x": "y".repeat(2_048 - r#"{"x":""}"#.len())})),
        ] {
            let mut tile = fields(json!({"id": "a", "type": "chart", "title": "A"}));
            tile.insert(name.into(), value);
            assert!(Edit::AddTile(NewTile(tile)).apply(&board()).is_ok(), "{name}");
        }
        let mut full = Board { name: "x".repeat(200), ..board() };
        let options = |length: usize| Some(fields(json!({"x": "y".repeat(length)})));
        full.tiles.truncate(7);
        full.tiles.extend((0..29).map(|n| Tile {
            id: format!("t{n}"),
            options: options(2_000),
            ..board().tiles[0].clone()
        }));
        let length = |board: &Board| serde_json::to_vec(board).unwrap().len();
        full.tiles[0].options = options(0);
        full.tiles[0].options = options((64 << 10) - length(&full));
        assert_eq!((length(&full), full.check()), (64 << 10, Ok(())));
        full.tiles[0].title.push('x');
        assert!(full.check().is_err());
    }

    #[test]
    fn a_tenant_has_at_most_as_many_boards_as_are_allowed() {
        assert_eq!(board().check_room(false, 2, 3), Ok(()));
        assert_eq!(board().check_room(false, 3, 3), Err(DashboardError::TooMany(3)));
        assert_eq!(board().check_room(true, 3, 3), Err(DashboardError::Taken(board().id)));
    }

    #[test]
    fn a_deleted_board_has_the_version_that_ended_it() {
        let deleted = Edit::Delete.apply(&board()).unwrap();
        assert_eq!((deleted.action, deleted.board.version), (Some(Action::Deleted), board().version + 1));
    }

    #[test]
    fn a_replacement_keeps_the_id_and_checks_the_version() {
        let new = |value: Value| serde_json::from_value::<NewBoard>(value).unwrap();
        let replaced = Edit::Replace(new(json!({"name": "Shop", "version": 1}))).apply(&board()).unwrap();
        assert_eq!((replaced.board.version, replaced.board.tiles.len()), (2, 0));
        assert_eq!(
            Edit::Replace(new(json!({"name": "Shop", "version": 2}))).apply(&board()),
            Err(DashboardError::Moved)
        );
        assert!(Edit::Replace(new(json!({"id": "other", "name": "Shop"}))).apply(&board()).is_err());
        let twice = json!({"name": "x", "tiles": [{"id": "a", "type": "text", "title": "x"}, {"id": "a", "type": "text", "title": "y"}]});
        assert!(Edit::Replace(new(twice)).apply(&board()).unwrap_err().to_string().contains("twice"));
        let same = serde_json::to_value(board()).unwrap();
        assert_eq!(
            Edit::Replace(new(same)).apply(&board()).unwrap().action,
            None,
            "a board that was read can be written back"
        );
    }

    proptest! {
        #[test]
        fn only_a_permutation_is_an_order(picks in proptest::collection::vec(0usize..7, 0..9)) {
            let mut board = board();
            board.tiles.truncate(7);
            let order: Vec<String> = picks.iter().map(|pick| board.tiles[*pick].id.clone()).collect();
            let mut sorted = picks.clone();
            sorted.sort_unstable();
            let is_permutation = sorted == (0..board.tiles.len()).collect::<Vec<_>>();
            match Edit::Reorder(order.clone()).apply(&board) {
                Ok(edited) => {
                    prop_assert!(is_permutation);
                    prop_assert_eq!(edited.board.tiles.iter().map(|tile| tile.id.clone()).collect::<Vec<_>>(), order);
                }
                Err(_) => prop_assert!(!is_permutation),
            }
        }

        #[test]
        fn any_shuffle_keeps_the_tiles(order in Just(board().tiles.into_iter().map(|tile| tile.id).collect::<Vec<_>>()).prop_shuffle()) {
            let edited = Edit::Reorder(order.clone()).apply(&board()).unwrap();
            prop_assert_eq!(edited.board.tiles.iter().map(|tile| tile.id.clone()).collect::<Vec<_>>(), order.clone());
            prop_assert_eq!(edited.action.is_some(), edited.board.version == 2);
        }
    }
}

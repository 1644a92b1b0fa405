//! Task that applies the changes of a tenant's dashboards, one after the other.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Action, Board, DashboardError, DashboardStore, Edit, Edited, NewBoard, board::MAX_BOARDS};
use crate::{
    relay::{NewEvent, Relay},
    service::{Reply, Retry, ServiceError},
};
use tricast_core::{clock::Clock, version::IfMatch};

/// Largest number of changes that wait; more are refused. People make them, one at a time.
pub(super) const QUEUE: usize = 64;

/// Largest number of times that an edit is applied again because another node stored a newer version first.
const ATTEMPTS: usize = 5;

/// State that the writer and the handles share.
pub(super) struct Shared {
    pub(super) tenant: Arc<str>,
    pub(super) store: Arc<dyn DashboardStore>,
    pub(super) relay: Relay,
    pub(super) clock: Clock,
    /// Whether the tenant's first dashboard is stored; an error while the store does not work, so that callers do not wait.
    pub(super) ready: watch::Sender<Option<Result<(), DashboardError>>>,
    /// Whether a change is being made.
    pub(super) busy: watch::Sender<bool>,
}

/// Change to apply, and the channel for its result.
pub(super) struct Command {
    pub(super) change: Change,
    pub(super) by: String,
    pub(super) reply: Reply<Written, DashboardError>,
}

pub(super) enum Change {
    Create(NewBoard),
    Edit { id: String, edit: Edit, if_match: Option<IfMatch> },
}

/// Dashboard after a change, and the sequence number of the event; `None` if nothing changed.
type Written = (Edited, Option<u64>);

/// Task that applies the changes of one tenant's dashboards.
pub struct DashboardWriter {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
}

impl DashboardWriter {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>) -> Self {
        Self { shared, commands }
    }

    /// Stores the tenant's first dashboard, then applies changes until the last handle is dropped.
    pub async fn run(self) {
        let Self { shared, mut commands } = self;
        shared.seed().await;
        while let Some(Command { change, by, reply }) = commands.recv().await {
            shared.busy.send_replace(true);
            let result = match change {
                Change::Create(new) => shared.create(new, &by).await,
                Change::Edit { id, edit, if_match } => shared.edit(&id, &edit, if_match.as_ref(), &by).await,
            };
            if let Ok((_, Some(seq))) = &result {
                shared.relay.stored(*seq);
            }
            // The caller may have stopped waiting.
            drop(reply.send(result));
            shared.busy.send_replace(false);
        }
    }
}

impl Shared {
    /// Waits until the tenant's first dashboard is stored.
    ///
    /// # Errors
    /// The store's error while it can't be stored; [`ServiceError::Stopped`].
    pub(super) async fn ready(&self) -> Result<(), DashboardError> {
        let mut ready = self.ready.subscribe();
        let ready = ready.wait_for(Option::is_some).await.map_err(|_| ServiceError::Stopped)?;
        ready.clone().unwrap_or(Err(ServiceError::Stopped.into()))
    }

    async fn seed(&self) {
        let mut retry = Retry::loading("the dashboards", &*self.tenant);
        while let Err(error) = self.store.seed(&self.tenant, Board::default_at(self.clock.now_ms())).await {
            self.ready.send_replace(Some(Err(error.clone())));
            retry.after(&error).await;
        }
        self.ready.send_replace(Some(Ok(())));
    }

    async fn create(&self, new: NewBoard, by: &str) -> Result<Written, DashboardError> {
        let board = new.build(self.clock.now_ms())?;
        let edited = Edited { board, action: Some(Action::Created), tile: None };
        let event = event(&edited, by);
        let seq = self.store.insert(&self.tenant, edited.board.clone(), MAX_BOARDS, event).await?;
        Ok((edited, Some(seq)))
    }

    async fn edit(
        &self,
        id: &str,
        edit: &Edit,
        if_match: Option<&IfMatch>,
        by: &str,
    ) -> Result<Written, DashboardError> {
        for _ in 0..ATTEMPTS {
            let board = self.store.board(&self.tenant, id).await?;
            let seen = board.version();
            let edited = edit.clone().apply(&board);
            // An invalid request is refused as invalid (RFC 9110, section 13.2.1); any other error may only be due to a
            // newer version than the one that the caller has seen.
            let is_valid = !matches!(edited, Err(DashboardError::Invalid(_)));
            if is_valid && if_match.is_some_and(|if_match| !if_match.holds(seen)) {
                return Err(DashboardError::Moved);
            }
            let edited = edited?;
            let written = match edited.action {
                None => return Ok((edited, None)),
                Some(Action::Deleted) => self.store.delete(&self.tenant, id, seen, event(&edited, by)).await,
                Some(_) => self.store.replace(&self.tenant, edited.board.clone(), seen, event(&edited, by)).await,
            };
            match written {
                // Another node stored a newer version first.
                Err(DashboardError::Moved) => {}
                result => return result.map(|seq| (edited, Some(seq))),
            }
        }
        Err(ServiceError::Busy.into())
    }
}

/// Creates the event for a change that the user `by` made.
fn event(edited: &Edited, by: &str) -> NewEvent {
    let Edited { board, action, tile } = edited;
    let mut data = json!({"dashboardId": board.id, "action": action, "version": board.version, "updatedBy": by});
    if let Some(tile) = tile {
        data["tile"] = json!(tile);
    }
    NewEvent::new("dashboards", "dashboard_updated", &data)
}

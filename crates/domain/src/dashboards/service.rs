//! Handle of one tenant's dashboards.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Board, DashboardError, DashboardStore, DashboardWriter, Edit, Edited, NewBoard,
    writer::{Change, Command, QUEUE, Shared},
};
use crate::{
    relay::Relay,
    service::{Commands, in_time},
};
use tricast_core::{clock::Clock, version::IfMatch};

/// Longest time that a caller waits for the store.
const DEADLINE: Duration = Duration::from_secs(10);

/// Dashboards of one tenant. Cheap to clone; creating one does no I/O.
#[derive(Clone)]
pub struct DashboardService {
    commands: Commands<Command>,
    shared: Arc<Shared>,
}

impl DashboardService {
    /// Creates the service for the dashboards that `store` has of `tenant`; `relay` publishes their events. Nothing is
    /// changed until the caller runs the returned [`DashboardWriter`].
    pub fn new(tenant: &str, store: Arc<dyn DashboardStore>, relay: Relay, clock: Clock) -> (Self, DashboardWriter) {
        let (commands, queue) = Commands::bounded(QUEUE);
        let (ready, busy) = (watch::Sender::new(None), watch::Sender::new(false));
        let shared = Arc::new(Shared { tenant: tenant.into(), store, relay, clock, ready, busy });
        (Self { commands, shared: Arc::clone(&shared) }, DashboardWriter::new(shared, queue))
    }

    /// Returns whether no change is queued or being made.
    pub fn is_idle(&self) -> bool {
        self.commands.is_empty() && !*self.shared.busy.borrow()
    }

    /// Returns all dashboards, in the order of their ids.
    ///
    /// # Errors
    /// [`DashboardError::Store`], [`DashboardError::Service`].
    pub async fn list(&self) -> Result<Vec<Board>, DashboardError> {
        in_time(DEADLINE, async {
            self.shared.ready().await?;
            self.shared.store.boards(&self.shared.tenant).await
        })
        .await
    }

    /// Returns one dashboard.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`], [`DashboardError::Store`], [`DashboardError::Service`].
    pub async fn get(&self, id: &str) -> Result<Board, DashboardError> {
        in_time(DEADLINE, async {
            self.shared.ready().await?;
            self.shared.store.board(&self.shared.tenant, id).await
        })
        .await
    }

    /// Creates a dashboard. On return it is stored and the event `dashboard_updated` is published; if the log can't be
    /// written at the moment, the event is published later.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], [`DashboardError::Taken`], [`DashboardError::TooMany`], [`DashboardError::Store`],
    /// [`DashboardError::Service`].
    pub async fn create(&self, new: NewBoard, by: &str) -> Result<Edited, DashboardError> {
        self.submit(Change::Create(new), by).await
    }

    /// Changes or deletes a dashboard. The event `dashboard_updated` is published as by [`DashboardService::create`]. An
    /// edit that changes nothing makes neither a version nor an event.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`], [`DashboardError::Moved`] when `if_match` does not match, the errors of
    /// [`Edit::apply`], [`DashboardError::Store`], [`DashboardError::Service`].
    pub async fn edit(
        &self,
        id: &str,
        edit: Edit,
        if_match: Option<IfMatch>,
        by: &str,
    ) -> Result<Edited, DashboardError> {
        self.submit(Change::Edit { id: id.to_owned(), edit, if_match }, by).await
    }

    async fn submit(&self, change: Change, by: &str) -> Result<Edited, DashboardError> {
        if let Some(Err(error)) = &*self.shared.ready.borrow() {
            return Err(error.clone());
        }
        self.shared.relay.check_room()?;
        let command = |reply| Command { change, by: by.to_owned(), reply };
        let (edited, event) = self.commands.submit(DEADLINE, command).await?;
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
        Ok(edited)
    }
}

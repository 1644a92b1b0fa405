//! The face of one tenant's dashboards, and the one task that changes them.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use super::{Action, Board, DashboardError, DashboardStore, Edit, Edited, NewBoard, board::MAX_BOARDS};
use crate::{
    core::{clock::Clock, version::IfMatch},
    relay::{NewEvent, Relay},
};

/// Changes that wait; more are refused. People make them, one at a time.
const QUEUE: usize = 64;

/// Longest time a caller waits for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after a failure the first board is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often an edit is made anew because somebody else, on another node, was faster.
const ATTEMPTS: usize = 5;

/// Dashboards of one tenant. Cheap to clone; making one costs a queue and no I/O.
#[derive(Clone)]
pub struct DashboardService {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    tenant: Arc<str>,
    store: Arc<dyn DashboardStore>,
    relay: Relay,
    clock: Clock,
    /// Whether the tenant has its first board; an error while the store does not answer, so that nobody waits for it.
    ready: watch::Sender<Option<Result<(), DashboardError>>>,
    /// A change is being made.
    busy: watch::Sender<bool>,
    /// Taken by the task when it begins.
    queue: Mutex<Option<mpsc::Receiver<Command>>>,
}

struct Command {
    what: What,
    by: String,
    reply: oneshot::Sender<Result<Written, DashboardError>>,
}

/// A change, and the place of its event, if it has one.
type Written = (Edited, Option<u64>);

enum What {
    Create(NewBoard),
    Edit { id: String, edit: Edit, if_match: Option<IfMatch> },
}

impl DashboardService {
    /// The dashboards of `tenant` in `store`, whose events `relay` publishes. Somebody has to drive [`DashboardService::run`].
    pub fn new(tenant: &str, store: Arc<dyn DashboardStore>, relay: Relay, clock: Clock) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let shared = Shared {
            tenant: tenant.into(),
            store,
            relay,
            clock,
            ready: watch::Sender::new(None),
            busy: watch::Sender::new(false),
            queue: Mutex::new(Some(queue)),
        };
        Self { commands, shared: Arc::new(shared) }
    }

    /// Sees to it that the tenant has its first board, then makes the changes, one after the other, until the last other
    /// handle is dropped.
    pub async fn run(self) {
        let Self { commands, shared } = self;
        // Or it would wait for itself.
        drop(commands);
        let Some(mut queue) = shared.queue.lock().take() else {
            tracing::error!(tenant = &*shared.tenant, "the dashboards are looked after already");
            return;
        };
        shared.seed().await;
        while let Some(Command { what, by, reply }) = queue.recv().await {
            shared.busy.send_replace(true);
            let result = match what {
                What::Create(new) => shared.create(new, &by).await,
                What::Edit { id, edit, if_match } => shared.edit(&id, &edit, if_match.as_ref(), &by).await,
            };
            if let Ok((_, Some(seq))) = &result {
                shared.relay.stored(*seq);
            }
            // A caller that went away does not want the answer.
            drop(reply.send(result));
            shared.busy.send_replace(false);
        }
    }

    /// Whether no change waits or is being made.
    pub fn is_idle(&self) -> bool {
        self.commands.capacity() == self.commands.max_capacity() && !*self.shared.busy.borrow()
    }

    /// All boards, by id.
    ///
    /// # Errors
    /// [`DashboardError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<Board>, DashboardError> {
        in_time(async {
            self.shared.ready().await?;
            self.shared.store.boards(&self.shared.tenant).await
        })
        .await
    }

    /// One board.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`], [`DashboardError::Unavailable`].
    pub async fn get(&self, id: &str) -> Result<Board, DashboardError> {
        in_time(async {
            self.shared.ready().await?;
            self.shared.store.board(&self.shared.tenant, id).await
        })
        .await
    }

    /// A new board. It is in the store, and the event `dashboard_updated` is out, when this answers; while nobody can write
    /// the log, the event follows.
    ///
    /// # Errors
    /// [`DashboardError::Invalid`], [`DashboardError::Taken`], [`DashboardError::TooMany`], [`DashboardError::Full`],
    /// [`DashboardError::ReadOnly`], [`DashboardError::Unavailable`], [`DashboardError::Unknown`],
    /// [`DashboardError::Stopped`].
    pub async fn create(&self, new: NewBoard, by: &str) -> Result<Edited, DashboardError> {
        self.submit(What::Create(new), by).await
    }

    /// Changes or deletes a board. It is in the store, and the event `dashboard_updated` is out, when this answers, or
    /// follows as that of [`DashboardService::create`]; an edit that changes nothing makes neither.
    ///
    /// # Errors
    /// [`DashboardError::NotFound`], [`DashboardError::Moved`] when `if_match` does not hold, what [`Edit::apply`] says,
    /// [`DashboardError::Full`], [`DashboardError::ReadOnly`], [`DashboardError::Unavailable`],
    /// [`DashboardError::Unknown`], [`DashboardError::Stopped`].
    pub async fn edit(
        &self,
        id: &str,
        edit: Edit,
        if_match: Option<IfMatch>,
        by: &str,
    ) -> Result<Edited, DashboardError> {
        self.submit(What::Edit { id: id.to_owned(), edit, if_match }, by).await
    }

    async fn submit(&self, what: What, by: &str) -> Result<Edited, DashboardError> {
        if let Some(Err(error)) = &*self.shared.ready.borrow() {
            return Err(error.clone());
        }
        let (reply, answer) = oneshot::channel();
        let command = Command { what, by: by.to_owned(), reply };
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DashboardError::Unavailable,
            mpsc::error::TrySendError::Closed(_) => DashboardError::Stopped,
        })?;
        // From here on the store may make it, whatever becomes of this call.
        let (edited, event) = match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) | Err(_) => return Err(DashboardError::Unknown),
        };
        if let Some(seq) = event {
            self.shared.relay.published(seq).await;
        }
        Ok(edited)
    }
}

impl Shared {
    async fn seed(&self) {
        let mut failures = 0;
        while let Err(error) = self.store.seed(&self.tenant, Board::default_at(self.now())).await {
            if failures == 0 {
                tracing::error!(tenant = &*self.tenant, %error, "the dashboards can't be read; trying again");
            }
            failures += 1;
            self.ready.send_replace(Some(Err(error)));
            sleep(RETRY).await;
        }
        self.ready.send_replace(Some(Ok(())));
    }

    async fn ready(&self) -> Result<(), DashboardError> {
        let mut ready = self.ready.subscribe();
        let ready = ready.wait_for(Option::is_some).await.map_err(|_| DashboardError::Stopped)?;
        ready.clone().unwrap_or(Err(DashboardError::Stopped))
    }

    async fn create(&self, new: NewBoard, by: &str) -> Result<Written, DashboardError> {
        let edited = Edited { board: new.build(self.now())?, action: Some(Action::Created), tile: None };
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
            // What makes no sense is refused for that (RFC 9110, section 13.2.1); anything else may be so only because
            // the board has moved.
            let makes_sense = !matches!(edited, Err(DashboardError::Invalid(_)));
            if makes_sense && if_match.is_some_and(|if_match| !if_match.holds(seen)) {
                return Err(DashboardError::Moved);
            }
            let edited = edited?;
            let written = match edited.action {
                None => return Ok((edited, None)),
                Some(Action::Deleted) => self.store.delete(&self.tenant, id, seen, event(&edited, by)).await,
                Some(_) => self.store.replace(&self.tenant, edited.board.clone(), seen, event(&edited, by)).await,
            };
            match written {
                // Somebody was faster; look again.
                Err(DashboardError::Moved) => {}
                result => return result.map(|seq| (edited, Some(seq))),
            }
        }
        Err(DashboardError::Unavailable)
    }

    /// Now, in the whole milliseconds that stores keep.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// What tells of a change that the user `by` makes.
fn event(edited: &Edited, by: &str) -> NewEvent {
    let Edited { board, action, tile } = edited;
    let mut data = json!({"dashboardId": board.id, "action": action, "version": board.version, "updatedBy": by});
    if let Some(tile) = tile {
        data["tile"] = json!(tile);
    }
    NewEvent::new("dashboards", "dashboard_updated", &data)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, DashboardError>>) -> Result<T, DashboardError> {
    timeout(PATIENCE, answer).await.unwrap_or(Err(DashboardError::Unavailable))
}

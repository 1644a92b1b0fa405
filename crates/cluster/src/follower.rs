//! Task that reads the shared log, entry by entry. After a long interruption, when entries are gone, it loads the whole log.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{RedisError, cmd};
use tokio::time::sleep;

use super::{
    bootstrap,
    connection::Connection,
    node::{Followed, Loaded, Node},
    scripts,
    stream::{self, Item},
    wire::{Entry, Head, StoredChannel, WirePublication, WireTimes},
};
use tricast_core::{
    channel::Channel,
    log::{StoredLog, StoredPublication},
    position::Epoch,
};

/// Longest time that Redis blocks for an entry.
const WAIT: Duration = Duration::from_secs(1);

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(200);

/// Most entries per read.
const ENTRIES: usize = 64;

/// Most events per read of a load.
const EVENTS: usize = 1_000;

/// Follows the log until the task is cancelled.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        if let Err(error) = follow(&node).await {
            node.metrics.failures.inc();
            tracing::debug!(%error, "cannot read the log; retrying");
            sleep(RETRY).await;
        }
    }
}

/// Reason why the log cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error("an entry can't be read: {0}")]
    Entry(#[from] serde_json::Error),
    #[error("an entry lacks a field")]
    Shape,
    #[error("the log lost entries that this node had read")]
    Rewritten,
    #[error("the log is not the current one any more")]
    Gone,
}

/// Follows the log of one epoch.
async fn follow(node: &Arc<Node>) -> Result<(), Failure> {
    let mut seen = node.seen.subscribe();
    // The sender lives as long as the node.
    let Ok(epoch) = seen.wait_for(|seen| seen.epoch.is_some()).await.map(|seen| seen.epoch.clone()) else {
        return Ok(());
    };
    let Some(epoch) = epoch else { return Ok(()) };
    let mut connection = node.link.connect(WAIT).await?;
    let known = node.followed.borrow().clone().filter(|followed| followed.epoch == epoch);
    let (mut last, mut entry_id) = match known {
        Some(followed) => (followed.seq, followed.entry_id),
        None => load(node, &mut connection, &epoch).await?,
    };
    let key = node.keys.of(&epoch, "log");
    loop {
        let after = format!("{last}-0");
        let items = tokio::select! {
            biased;
            items = stream::read(&mut connection, &key, &after, ENTRIES, WAIT) => items?,
            // Another log; if there is none, this one stays.
            _ = seen.wait_for(|seen| seen.epoch.as_ref().is_some_and(|now| *now != epoch)) => return Ok(()),
        };
        for item in items {
            let seq = item.number().ok_or(Failure::Shape)?;
            if seq != last + 1 {
                tracing::warn!(last, seq, "entries of the log are gone: loading the whole log");
                (last, entry_id) = load(node, &mut connection, &epoch).await?;
                break;
            }
            let entry: Vec<u8> = item.get("e").ok_or(Failure::Shape)?;
            let entry: Entry = match serde_json::from_slice(&entry) {
                Ok(entry) => entry,
                Err(error) => {
                    // Its results are stored in another form too; callers that wait for its replies get an unknown outcome.
                    tracing::error!(seq, %error, "cannot parse an entry of the log: loading the whole log");
                    (last, entry_id) = load(node, &mut connection, &epoch).await?;
                    break;
                }
            };
            if entry.before != entry_id {
                // The log lost entries that were read here, and other ones were written in their place.
                node.suspect(&epoch).await?;
                return Err(Failure::Rewritten);
            }
            entry_id.clone_from(&entry.entry_id);
            node.apply(&epoch, seq, entry);
            last = seq;
        }
    }
}

/// Loads everything that is stored of the log. Returns the number and the ID of the last entry included.
pub(super) async fn load(
    node: &Arc<Node>,
    connection: &mut Connection,
    epoch: &Epoch,
) -> Result<(u64, String), Failure> {
    node.metrics.loads.inc();
    // Read first: later additions are read as entries, and those in both are applied once.
    let mut state = cmd("HMGET");
    state.arg(node.keys.of(epoch, "state")).arg(&["seq", "word"]);
    let (seq, entry_id): (Option<u64>, Option<String>) = state.query_async(connection).await?;
    let missed_replies = node.next_group();
    let mut meta = cmd("HMGET");
    meta.arg(node.keys.meta()).arg(&["base", "earlier"]);
    let (base, earlier): (Option<u64>, Option<String>) = meta.query_async(connection).await?;
    let earlier = bootstrap::read_epochs(earlier.as_deref());
    let tenants: Vec<String> = cmd("HKEYS").arg(node.keys.of(epoch, "tenants")).query_async(connection).await?;
    let mut loaded = HashMap::new();
    for tenant in tenants {
        let stored = load_tenant(node, connection, epoch, &tenant).await?;
        loaded.insert(Arc::from(tenant), stored);
    }
    // Redis may have lost the log meanwhile. An empty one in place of it would cost the values that this node has.
    let current: Option<String> = cmd("HGET").arg(node.keys.meta()).arg("epoch").query_async(connection).await?;
    if current.is_none_or(|current| current != epoch.to_string()) {
        return Err(Failure::Gone);
    }
    let (seq, entry_id) = (seq.unwrap_or(0), entry_id.unwrap_or_default());
    let before = node.followed.borrow().as_ref().map(|followed| followed.epoch == *epoch);
    tracing::info!(%epoch, seq, tenants = loaded.len(), "the log is loaded");
    // All entries of a log that was just bootstrapped are read, because they contain replies to groups that were sent
    // again. Their changes are already applied.
    let (seq, entry_id) = if before == Some(false) { (0, String::new()) } else { (seq, entry_id) };
    let followed = Followed { epoch: epoch.clone(), seq, entry_id: entry_id.clone() };
    node.replace_logs(followed, base.unwrap_or(0), earlier, loaded);
    if before == Some(true) {
        node.drop_pending(missed_replies);
    }
    Ok((seq, entry_id))
}

async fn load_tenant(node: &Node, connection: &mut Connection, epoch: &Epoch, tenant: &str) -> Result<Loaded, Failure> {
    let key = |part| node.keys.of_tenant(epoch, tenant, part);
    let mut load = scripts::LOAD.prepare_invoke();
    load.key(node.keys.of(epoch, "tenants")).key(key("states")).key(key("times")).arg(tenant);
    type Hash = HashMap<String, Vec<u8>>;
    let (head, states, mut times): (String, Hash, Hash) = load.invoke_async(connection).await?;
    let head = if head.is_empty() { Head::default() } else { serde_json::from_str(&head)? };
    let Head { head, snapshot, dropped, discarded_ends, holes, seq, published } = head;
    node.record_published(tenant, &published);
    let mut stored = StoredLog {
        epoch: epoch.clone(),
        head,
        snapshot,
        states: Vec::with_capacity(states.len()),
        event_channels: Vec::new(),
        events: Vec::new(),
        dropped,
        discarded_ends,
        holes,
    };
    for (channel, state) in states {
        let times = times.remove(&channel).and_then(|times| serde_json::from_slice::<WireTimes>(&times).ok());
        let channel = Channel::parse(&channel).map_err(|_| Failure::Shape)?;
        let state: WirePublication = serde_json::from_slice(&state)?;
        match state.into_channel(channel.clone()) {
            StoredChannel::State(mut state) => {
                state.times = times.filter(|times| times.offset == state.offset).map(|times| times.times);
                stored.states.push(state);
            }
            StoredChannel::Events(last, at) => stored.event_channels.push((channel, last, at)),
        }
    }
    stored.states.sort_by_key(|state| state.offset);
    let (mut from, to) = (format!("({dropped}-0"), format!("{head}-0"));
    loop {
        let events = stream::range(connection, &key("events"), &from, &to, EVENTS).await?;
        let Some(last) = events.last() else { break };
        from = format!("({}", last.id);
        for event in &events {
            stored.events.push(read_event(event)?);
        }
    }
    // Some may have been trimmed during the read.
    let now: Option<String> =
        cmd("HGET").arg(node.keys.of(epoch, "tenants")).arg(tenant).query_async(connection).await?;
    if let Some(now) = now {
        stored.dropped = stored.dropped.max(serde_json::from_str::<Head>(&now)?.dropped.min(head));
    }
    Ok(Loaded { stored, seq })
}

fn read_event(item: &Item) -> Result<StoredPublication, Failure> {
    let event: Vec<u8> = item.get("e").ok_or(Failure::Shape)?;
    serde_json::from_slice::<WirePublication>(&event)?.into_event().ok_or(Failure::Shape)
}

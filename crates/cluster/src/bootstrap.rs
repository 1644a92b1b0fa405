//! Bootstrap of a new epoch: at the first start, or after Redis lost entries that nodes had applied.
//!
//! The newest values of this node are written to the new log, at offsets that no reader has seen, so that readers
//! continue from where they are. Events of the previous log are lost; readers get a gap.

use std::sync::Arc;

use jiff::Timestamp;
use redis::cmd;

use super::{
    connection::Connection,
    keys::{PARTS, TENANT_PARTS},
    node::{Dumps, Node, united},
    scripts,
    term_error::TermError,
    wire::{Head, WirePublication, WireTimes, json},
};
use tricast_core::{
    log::{Holes, StoredLog},
    position::Epoch,
};

/// Minimum distance of the offsets of a new log from those known to this node, because another node may have read further.
const JUMP: u64 = 1_000_000;

/// Returns an offset at `now` that is above those that other nodes may have read or assigned after `known`, unless a log grows
/// by a million a second.
pub(super) fn above(known: u64, now: Timestamp) -> u64 {
    (known + JUMP).max(u64::try_from(now.as_microsecond()).unwrap_or_default())
}

/// Returns the epoch of the existing log, or bootstraps one; and whether it is new.
pub(super) async fn current_or_new(node: &Arc<Node>, connection: &mut Connection) -> Result<(Epoch, bool), TermError> {
    let mut meta = cmd("HMGET");
    meta.arg(node.keys.meta()).arg(&["epoch", "suspect", "earlier"]);
    let (epoch, suspect, earlier): (Option<String>, Option<String>, Option<String>) =
        meta.query_async(connection).await?;
    let lost = epoch.as_deref().and_then(|epoch| Epoch::parse(epoch).ok());
    if let Some(epoch) = &lost
        && Some(epoch.to_string()) != suspect
        && !node.is_earlier(epoch)
    {
        return Ok((epoch.clone(), false));
    }
    let stored = node.export();
    let known = stored.iter().map(|(_, stored)| stored.head).max().unwrap_or(0);
    let base = above(known, node.clock.now());
    let new = Epoch::random();
    let earlier = united(read_epochs(earlier.as_deref()), node.epochs().into_iter().chain(lost.clone()));
    step(node, connection, lost.as_ref(), &new, base, &earlier, false).await?;
    // Only the last leader has complete series. Other nodes use those that the lost log still has.
    let led = !node.series.lock().is_empty();
    let mut incomplete = 0;
    for (tenant, stored) in stored.iter().filter(|(_, stored)| stored.head > 0) {
        let series = match &lost {
            _ if led => node.series.lock().get(tenant).cloned().unwrap_or_default(),
            Some(lost) => {
                let key = node.keys.of_tenant(lost, tenant, "series");
                cmd("HGETALL").arg(key).query_async(connection).await?
            }
            None => Vec::new(),
        };
        incomplete += usize::from(!led);
        write(node, connection, &new, tenant, stored, base, series).await?;
    }
    step(node, connection, lost.as_ref(), &new, base, &earlier, true).await?;
    if incomplete > 0 {
        tracing::error!(
            tenants = incomplete,
            "Redis lost samples that only the previous leader had: today's counters may be too low"
        );
        node.samples_lost.send_modify(|times| *times += 1);
    }
    tracing::warn!(epoch = %new, "bootstrapped a new log");
    node.seen.send_modify(|seen| (seen.epoch, seen.suspect) = (Some(new.clone()), false));
    Ok((new, true))
}

/// Parses the epochs of the previous logs, oldest first, by which every node can distinguish a cursor of an earlier log
/// from one of a later log that it does not know yet.
pub(super) fn read_epochs(text: Option<&str>) -> Vec<Epoch> {
    text.unwrap_or_default().split_whitespace().filter_map(|name| Epoch::parse(name).ok()).collect()
}

/// Removes the previous log, which is not read any more; also if the node that bootstrapped the current one could not.
///
/// # Errors
/// Redis cannot be reached.
pub(super) async fn clean_up(node: &Node, connection: &mut Connection) -> Result<(), TermError> {
    let mut meta = cmd("HGET");
    let before: Option<String> = meta.arg(node.keys.meta()).arg("before").query_async(connection).await?;
    let Some(before) = before.filter(|before| !before.is_empty()) else { return Ok(()) };
    if let Ok(epoch) = Epoch::parse(&before) {
        retire(node, connection, &epoch).await?;
    }
    let mut done = cmd("HDEL");
    done.arg(node.keys.meta()).arg("before").query_async::<()>(connection).await?;
    Ok(())
}

async fn step(
    node: &Node,
    connection: &mut Connection,
    lost: Option<&Epoch>,
    new: &Epoch,
    base: u64,
    earlier: &[Epoch],
    prepared: bool,
) -> Result<(), TermError> {
    let mut script = scripts::BOOTSTRAP.prepare_invoke();
    script.key(node.keys.meta()).key(node.keys.leader());
    script.arg(&node.id).arg(lost.map(ToString::to_string).unwrap_or_default()).arg(new.to_string()).arg(base);
    script.arg(i32::from(prepared)).arg(earlier.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let reply: String = script.invoke_async(connection).await?;
    if reply == "done" { Ok(()) } else { Err(TermError::Lost(reply)) }
}

/// Writes the newest values of a tenant at offsets above `base`.
async fn write(
    node: &Node,
    connection: &mut Connection,
    epoch: &Epoch,
    tenant: &Arc<str>,
    stored: &StoredLog,
    base: u64,
    series: Dumps,
) -> Result<(), TermError> {
    let keys = &node.keys;
    let published = node.published(tenant);
    let holes = Holes::default();
    let mut head = Head { head: base, snapshot: None, dropped: base, discarded_ends: 0, holes, seq: 0, published };
    let (mut states, mut times) = (Vec::new(), Vec::new());
    // Earlier ends are part of the gap, like everything before this log.
    for state in stored.states.iter().filter(|state| state.change.gone.is_none()) {
        head.head += 1;
        let value = WirePublication::value(head.head, state.at, &state.change.data, state.restored);
        states.push((&state.change.channel, value));
        if let Some(known) = &state.times {
            times.push((&state.change.channel, WireTimes { offset: head.head, times: known.clone() }));
        }
    }
    if let Some((_, at)) = stored.snapshot {
        head.head += 1;
        head.snapshot = Some((head.head, at));
    }
    let channels = stored.event_channels.iter();
    states.extend(channels.map(|(channel, _, at)| (channel, Some(WirePublication::events(base, *at)))));
    let mut append = scripts::APPEND.prepare_invoke();
    append.key(keys.meta()).key(keys.leader());
    for part in PARTS {
        append.key(keys.of(epoch, part));
    }
    for part in TENANT_PARTS {
        append.key(keys.of_tenant(epoch, tenant, part));
    }
    append.arg(&node.id).arg(epoch.to_string()).arg(0).arg("").arg("").arg("").arg("0-0").arg("").arg(0).arg(0);
    // The nodes send these groups again if they have not read the reply: readers would get their events twice, and
    // samples would be counted twice.
    let decided = node.decided();
    append.arg(decided.len());
    for (name, group) in decided {
        append.arg(name).arg(group);
    }
    append.arg(&**tenant).arg(json(&head)).arg(states.len());
    for (channel, state) in states {
        append.arg(channel.as_str()).arg(json(&state));
    }
    append.arg(0).arg("").arg(series.len());
    for (name, dump) in series {
        append.arg(name).arg(dump);
    }
    append.arg(times.len());
    for (channel, times) in times {
        append.arg(channel.as_str()).arg(json(&times));
    }
    let reply: String = append.invoke_async(connection).await?;
    if reply == "done" { Ok(()) } else { Err(TermError::Lost(reply)) }
}

async fn retire(node: &Node, connection: &mut Connection, epoch: &Epoch) -> Result<(), TermError> {
    let keys = &node.keys;
    let tenants: Vec<String> = cmd("HKEYS").arg(keys.of(epoch, "tenants")).query_async(connection).await?;
    let mut unlink = cmd("UNLINK");
    for part in PARTS {
        unlink.arg(keys.of(epoch, part));
    }
    for tenant in &tenants {
        for part in TENANT_PARTS {
            unlink.arg(keys.of_tenant(epoch, tenant, part));
        }
    }
    unlink.query_async::<()>(connection).await?;
    Ok(())
}

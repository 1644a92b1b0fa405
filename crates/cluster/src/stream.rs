//! Reads of streams, and conversion of Redis replies.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, RedisResult, cmd, streams::StreamReadReply};

use super::connection::Connection;

/// Entry of a stream.
pub(super) struct Item {
    /// ID: `MS-N`, or `SEQ-0` in the streams with own numbers.
    pub(super) id: String,
    fields: HashMap<String, redis::Value>,
}

impl Item {
    /// Returns the number of an ID of the form `SEQ-0`.
    pub(super) fn number(&self) -> Option<u64> {
        self.id.split('-').next()?.parse().ok()
    }

    /// Returns a field of the entry.
    pub(super) fn get<T: FromRedisValue>(&self, field: &str) -> Option<T> {
        let value = self.fields.get(field)?;
        T::from_redis_value_ref(value).ok()
    }
}

/// Reads at most `most` entries after `after`; blocks for `wait` if there are none.
///
/// # Errors
/// Redis cannot be reached.
pub(super) async fn read(
    connection: &mut Connection,
    key: &str,
    after: &str,
    most: usize,
    wait: Duration,
) -> RedisResult<Vec<Item>> {
    let wait = wait.as_millis().max(1) as u64;
    let mut command = cmd("XREAD");
    command.arg("COUNT").arg(most).arg("BLOCK").arg(wait).arg("STREAMS").arg(key).arg(after);
    let reply: Option<StreamReadReply> = command.query_async(connection).await?;
    let keys = reply.map(|reply| reply.keys).unwrap_or_default();
    Ok(keys.into_iter().flat_map(|key| key.ids).map(|id| Item { id: id.id, fields: id.map }).collect())
}

/// Returns the ID of the newest entry; `None` if there is none.
///
/// # Errors
/// Redis cannot be reached.
pub(super) async fn last_id(connection: &mut Connection, key: &str) -> RedisResult<Option<String>> {
    let mut command = cmd("XREVRANGE");
    command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    let reply: redis::streams::StreamRangeReply = command.query_async(connection).await?;
    Ok(reply.ids.into_iter().next().map(|id| id.id))
}

/// Reads a range of at most `most` entries: `from` and `to` are IDs, with the prefix `(` if they are excluded.
///
/// # Errors
/// Redis cannot be reached.
pub(super) async fn range(
    connection: &mut Connection,
    key: &str,
    from: &str,
    to: &str,
    most: usize,
) -> RedisResult<Vec<Item>> {
    let mut command = cmd("XRANGE");
    command.arg(key).arg(from).arg(to).arg("COUNT").arg(most);
    let reply: redis::streams::StreamRangeReply = command.query_async(connection).await?;
    Ok(reply.ids.into_iter().map(|id| Item { id: id.id, fields: id.map }).collect())
}

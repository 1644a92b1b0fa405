//! Reading streams, and what Redis says in other shapes than ours.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, RedisResult, cmd, streams::StreamReadReply};

use super::connection::Connection;

/// An entry of a stream.
pub(super) struct Item {
    /// `MS-N`, or `SEQ-0` in the streams whose numbers are ours.
    pub(super) id: String,
    fields: HashMap<String, redis::Value>,
}

impl Item {
    /// The number of an id that is ours.
    pub(super) fn number(&self) -> Option<u64> {
        self.id.split('-').next()?.parse().ok()
    }

    /// A field of it.
    pub(super) fn get<T: FromRedisValue>(&self, field: &str) -> Option<T> {
        let value = self.fields.get(field)?;
        T::from_redis_value_ref(value).ok()
    }
}

/// Reads what comes after `after`, `most` entries at most; waits for `wait` where there is nothing.
///
/// # Errors
/// Redis can't be reached.
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

/// The id of the newest entry; `None` where there is none.
///
/// # Errors
/// Redis can't be reached.
pub(super) async fn last_id(connection: &mut Connection, key: &str) -> RedisResult<Option<String>> {
    let mut command = cmd("XREVRANGE");
    command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    let reply: redis::streams::StreamRangeReply = command.query_async(connection).await?;
    Ok(reply.ids.into_iter().next().map(|id| id.id))
}

/// Reads a range, `most` entries at most: `from` and `to` are ids, with `(` before one that does not count.
///
/// # Errors
/// Redis can't be reached.
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

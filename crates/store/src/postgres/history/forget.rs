//! Deletion of old rows.

use deadpool_postgres::{Client, Transaction};

use super::{begin, series_of_step};
use crate::postgres::{Abort, tenant};
use tricast_domain::history::{Forget, HistoryError, Level, Progress, RolledUp, SeriesId};

/// Days for which the row of an empty series is kept: nodes that still know its id may write a point.
const KEPT_EMPTY_DAYS: i64 = 30;

/// Makes one step of deleting old rows.
pub(super) async fn forget(client: &mut Client, tenant: String, step: Forget) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(progress) };
    let transaction = begin(client).await?;
    let (found, last) = series_of_step(&transaction, tenant, step.after).await?;
    let old = old(&transaction, &found, step).await?;
    let points = transaction
        .prepare_cached(
            "DELETE FROM tricast_history_points WHERE series = $1 AND at IN \
             (SELECT at FROM tricast_history_points WHERE series = $1 AND at < $2 ORDER BY at LIMIT $3)",
        )
        .await?;
    let rollups = transaction
        .prepare_cached(
            "DELETE FROM tricast_history_rollups WHERE level = $1 AND series = $2 AND at IN \
             (SELECT at FROM tricast_history_rollups WHERE level = $1 AND series = $2 AND at < $3 ORDER BY at LIMIT $4)",
        )
        .await?;
    progress.next = last;
    let mut visited = Vec::new();
    'series: for &(id, rolled) in &found {
        for level in Level::ALL {
            if !old.contains(&(id.0, level as i16)) {
                continue;
            }
            let room = step.rows - progress.rows;
            if room == 0 {
                progress.next = Some(id.before());
                break 'series;
            }
            let (before, room) = (step.limit(rolled, level), room as i64);
            let deleted = match level {
                Level::Raw => transaction.execute(&points, &[&id.0, &before, &room]).await?,
                _ => transaction.execute(&rollups, &[&(level as i16), &id.0, &before, &room]).await?,
            };
            progress.rows += deleted as usize;
            if deleted as i64 == room {
                // The series may have more of them.
                progress.next = Some(id.before());
                break 'series;
            }
        }
        visited.push(id.0);
    }
    progress.gone = mark_empty(&transaction, tenant, &visited).await?;
    transaction.commit().await?;
    Ok(progress)
}

/// Returns the series and levels with rows that are too old; most often these are few.
async fn old(
    client: &Transaction<'_>,
    found: &[(SeriesId, RolledUp)],
    step: Forget,
) -> Result<Vec<(i64, i16)>, tokio_postgres::Error> {
    let select = client
        .prepare_cached(
            "SELECT s.id, s.level FROM unnest($1::bigint[], $2::smallint[], $3::bigint[]) AS s (id, level, before) \
             WHERE CASE s.level WHEN 0 \
             THEN EXISTS (SELECT FROM tricast_history_points AS p WHERE p.series = s.id AND p.at < s.before) \
             ELSE EXISTS (SELECT FROM tricast_history_rollups AS r \
                          WHERE r.level = s.level AND r.series = s.id AND r.at < s.before) END",
        )
        .await?;
    let each = || found.iter().flat_map(|(id, rolled)| Level::ALL.map(|level| (id.0, *rolled, level)));
    let ids: Vec<i64> = each().map(|(id, ..)| id).collect();
    let levels: Vec<i16> = each().map(|(_, _, level)| level as i16).collect();
    let before: Vec<i64> = each().map(|(_, rolled, level)| step.limit(rolled, level)).collect();
    let rows = client.query(&select, &[&ids, &levels, &before]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Marks the series among `ids` that have no rows left as gone, and returns their number. Their own rows are deleted after
/// [`KEPT_EMPTY_DAYS`], because another node may still use the id.
async fn mark_empty(client: &Transaction<'_>, tenant: i64, ids: &[i64]) -> Result<usize, tokio_postgres::Error> {
    let mark = client
        .prepare_cached(
            "UPDATE tricast_history_series AS s SET gone_ms = (extract(epoch FROM now()) * 1000)::bigint \
             WHERE s.id = ANY($1::bigint[]) \
             AND NOT EXISTS (SELECT FROM tricast_history_points AS p WHERE p.series = s.id) \
             AND NOT EXISTS (SELECT FROM tricast_history_rollups AS r WHERE r.level IN (1, 2, 3) AND r.series = s.id)",
        )
        .await?;
    let gone = client.execute(&mark, &[&ids]).await?;
    let delete = client
        .prepare_cached(
            "DELETE FROM tricast_history_series WHERE id IN (SELECT id FROM tricast_history_series WHERE tenant = $1 \
             AND gone_ms < (extract(epoch FROM now()) * 1000)::bigint - $2::bigint * 86400000 LIMIT 100 FOR UPDATE SKIP LOCKED)",
        )
        .await?;
    client.execute(&delete, &[&tenant, &KEPT_EMPTY_DAYS]).await?;
    Ok(gone as usize)
}

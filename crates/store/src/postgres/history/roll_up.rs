//! Roll-ups by minute, hour and day.

use std::ops::Range;

use deadpool_postgres::{Client, Transaction};

use super::{begin, read::read_rows, series_of_step};
use crate::postgres::{Abort, tenant};
use tricast_domain::history::{Bucket, Choice, HistoryError, Level, Portion, Progress, RollUp, RolledUp, SeriesId};

/// Makes one step of a roll-up.
pub(super) async fn roll_up(
    client: &mut Client,
    tenant: String,
    step: RollUp,
) -> Result<Progress, Abort<HistoryError>> {
    let mut progress = Progress::default();
    let Some(finer) = step.level.finer() else { return Ok(progress) };
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(progress) };
    let transaction = begin(client).await?;
    let (found, last) = series_of_step(&transaction, tenant, step.after).await?;
    let due = due(&transaction, &found, &step, finer).await?;
    progress.next = last;
    let moves_on = |rolled: RolledUp| step.moves_on(rolled.through(step.level), step.through);
    for (id, rolled) in found.into_iter().filter(|(id, rolled)| due.contains(&id.0) || moves_on(*rolled)) {
        if progress.rows >= step.rows {
            progress.next = Some(id.before());
            break;
        }
        let span = step.span(rolled, finer);
        let portion = portion(&transaction, id, span, &step, finer, step.rows - progress.rows).await?;
        progress.rows += portion.rows.len();
        let Some(buckets) = step.fold(rolled, portion.rows, portion.through) else { continue };
        put_rollups(&transaction, step.level, id.0, &buckets, portion.through).await?;
        if portion.more {
            progress.next = Some(id.before());
            break;
        }
    }
    transaction.commit().await?;
    Ok(progress)
}

/// Returns the series that have rows to roll up. Most often these are few, and the others cost no round trip.
async fn due(
    client: &Transaction<'_>,
    found: &[(SeriesId, RolledUp)],
    step: &RollUp,
    finer: Level,
) -> Result<Vec<i64>, tokio_postgres::Error> {
    let sql = if finer == Level::Raw {
        "SELECT s.id FROM unnest($1::bigint[], $2::bigint[]) AS s (id, rolled_to) WHERE $4::smallint = 0 AND EXISTS \
         (SELECT FROM tricast_history_points AS p WHERE p.series = s.id AND p.at >= s.rolled_to AND p.at < $3)"
    } else {
        "SELECT s.id FROM unnest($1::bigint[], $2::bigint[]) AS s (id, rolled_to) WHERE EXISTS \
         (SELECT FROM tricast_history_rollups AS r WHERE r.level = $4::smallint AND r.series = s.id \
         AND r.at >= s.rolled_to AND r.at < $3)"
    };
    let select = client.prepare_cached(sql).await?;
    let ids: Vec<i64> = found.iter().map(|(id, _)| id.0).collect();
    let rolled_to: Vec<i64> = found.iter().map(|(_, rolled)| rolled.through(step.level)).collect();
    let rows = client.query(&select, &[&ids, &rolled_to, &step.through, &(finer as i16)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn put_rollups(
    client: &Transaction<'_>,
    level: Level,
    series: i64,
    buckets: &[Bucket],
    through: i64,
) -> Result<(), tokio_postgres::Error> {
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_history_rollups (level, series, at, count, total, min, max, last) \
             SELECT $1, $2, * FROM unnest($3::bigint[], $4::bigint[], $5::double precision[], $6::double precision[], \
             $7::double precision[], $8::double precision[]) ON CONFLICT (level, series, at) DO UPDATE SET \
             count = excluded.count, total = excluded.total, min = excluded.min, max = excluded.max, \
             last = excluded.last",
        )
        .await?;
    let set = client
        .prepare_cached(match level {
            Level::Raw | Level::Minute => "UPDATE tricast_history_series SET minutes_to = $2 WHERE id = $1",
            Level::Hour => "UPDATE tricast_history_series SET hours_to = $2 WHERE id = $1",
            Level::Day => "UPDATE tricast_history_series SET days_to = $2 WHERE id = $1",
        })
        .await?;
    let at: Vec<i64> = buckets.iter().map(|bucket| bucket.at).collect();
    let counts: Vec<i64> = buckets.iter().map(|bucket| bucket.count as i64).collect();
    let column = |read: fn(&Bucket) -> f64| buckets.iter().map(read).collect::<Vec<_>>();
    let (total, min) = (column(|bucket| bucket.total), column(|bucket| bucket.min));
    let (max, last) = (column(|bucket| bucket.max), column(|bucket| bucket.last));
    client.execute(&insert, &[&(level as i16), &series, &at, &counts, &total, &min, &max, &last]).await?;
    client.execute(&set, &[&series, &through]).await?;
    Ok(())
}

/// Reads about `most` rows of a series that are to be rolled up, but at least those of one bucket if there are any.
async fn portion(
    client: &Transaction<'_>,
    id: SeriesId,
    span: Range<i64>,
    step: &RollUp,
    finer: Level,
    most: usize,
) -> Result<Portion, tokio_postgres::Error> {
    let mut rows = Vec::new();
    if !span.is_empty() {
        read_rows(client, id, finer, span.clone(), most.saturating_add(1), &mut rows).await?;
    }
    Ok(match step.choose(span, rows, most) {
        Choice::Rows(portion) => portion,
        Choice::Bucket(span) => {
            let (mut rows, through) = (Vec::new(), span.end);
            read_rows(client, id, finer, span, usize::MAX, &mut rows).await?;
            Portion { rows, through, more: true }
        }
    })
}

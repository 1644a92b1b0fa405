//! Reading of points and roll-ups.

use std::ops::Range;

use deadpool_postgres::{Client, Transaction};
use futures_util::future::try_join_all;
use tokio_postgres::IsolationLevel;

use super::series_of;
use crate::postgres::{Abort, tenant};
use tricast_domain::history::{Bucket, HistoryError, Level, Query, RolledUp, SeriesId, Track};

/// Reads the series of a query, all in one state of the database.
pub(super) async fn read(client: &mut Client, tenant: String, query: Query) -> Result<Vec<Track>, Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(Vec::new()) };
    // One snapshot for all statements, whatever is written meanwhile.
    let snapshot =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let find = snapshot
        .prepare_cached(
            "SELECT id, minutes_to, hours_to, days_to, field FROM tricast_history_series \
             WHERE tenant = $1 AND channel = $2 AND gone_ms IS NULL ORDER BY field",
        )
        .await?;
    let found = snapshot.query(&find, &[&tenant, &query.channel.as_str()]).await?;
    let tracks = found.iter().filter_map(|row| {
        let field: Box<str> = row.get::<_, &str>(4).into();
        let asked = query.fields.as_ref().is_none_or(|fields| fields.contains(&field));
        asked.then(|| track(&snapshot, field, series_of(row), &query))
    });
    // The statements of different series are sent together.
    let tracks = try_join_all(tracks).await?;
    snapshot.commit().await?;
    Ok(tracks)
}

async fn track(
    client: &Transaction<'_>,
    field: Box<str>,
    (id, rolled): (SeriesId, RolledUp),
    query: &Query,
) -> Result<Track, tokio_postgres::Error> {
    // One more than the limit shows whether there are more.
    let most = query.limit.saturating_add(1);
    let (mut rows, mut points_from) = (Vec::new(), query.from);
    for (level, span) in rolled.spans(query) {
        points_from = span.start;
        read_rows(client, id, level, span, most - rows.len(), &mut rows).await?;
    }
    Ok(Track::new(field, rows, points_from, query.limit))
}

/// Appends the rows of a series in `span`, at most `most`.
pub(super) async fn read_rows(
    client: &Transaction<'_>,
    SeriesId(series): SeriesId,
    level: Level,
    span: Range<i64>,
    most: usize,
    into: &mut Vec<Bucket>,
) -> Result<(), tokio_postgres::Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    if level == Level::Raw {
        let select = client
            .prepare_cached(
                "SELECT at, value FROM tricast_history_points WHERE series = $1 AND at >= $2 AND at < $3 \
                 ORDER BY at LIMIT $4",
            )
            .await?;
        let rows = client.query(&select, &[&series, &span.start, &span.end, &most]).await?;
        into.extend(rows.iter().map(|row| Bucket::of_point(row.get(0), row.get(1))));
        return Ok(());
    }
    let select = client
        .prepare_cached(
            "SELECT at, count, total, min, max, last FROM tricast_history_rollups \
             WHERE level = $1 AND series = $2 AND at >= $3 AND at < $4 ORDER BY at LIMIT $5",
        )
        .await?;
    let rows = client.query(&select, &[&(level as i16), &series, &span.start, &span.end, &most]).await?;
    into.extend(rows.iter().map(|row| Bucket {
        at: row.get(0),
        count: row.get::<_, i64>(1) as u64,
        total: row.get(2),
        min: row.get(3),
        max: row.get(4),
        last: row.get(5),
    }));
    Ok(())
}

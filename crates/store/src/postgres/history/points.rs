//! Writing of points.

use std::collections::BTreeMap;

use deadpool_postgres::Client;

use super::{begin, series_of};
use crate::postgres::{Abort, tenant};
use tricast_domain::history::{Calendar, HistoryError, Point, SeriesId};

/// Writes points. Levels that are rolled up beyond a point are set back, so that it is rolled up too.
pub(super) async fn write(
    client: &mut Client,
    tenant: String,
    points: Vec<Point>,
    calendar: Calendar,
) -> Result<(), Abort<HistoryError>> {
    let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(()) };
    // Of two points of one time the later stays: one statement must not touch a row twice.
    let points: BTreeMap<(i64, i64), f64> =
        points.into_iter().map(|point| ((point.series.0, point.at), point.value)).collect();
    let mut first: BTreeMap<i64, i64> = BTreeMap::new();
    for (series, at) in points.keys() {
        first.entry(*series).or_insert(*at);
    }
    let transaction = begin(client).await?;
    let lock = transaction
        .prepare_cached(
            "SELECT id, minutes_to, hours_to, days_to, gone_ms IS NOT NULL FROM tricast_history_series \
             WHERE id = ANY($1::bigint[]) AND tenant = $2 ORDER BY id FOR NO KEY UPDATE",
        )
        .await?;
    let rows = transaction.query(&lock, &[&first.keys().copied().collect::<Vec<_>>(), &tenant]).await?;
    let mut set_back: (Vec<i64>, [Vec<i64>; 3]) = Default::default();
    let mut ours = Vec::with_capacity(rows.len());
    for row in &rows {
        let (SeriesId(id), rolled) = series_of(row);
        let Some(first) = first.get(&id) else { continue };
        ours.push(id);
        // Whether it was empty, and is now used again.
        let revived: bool = row.get(4);
        if revived || rolled.is_late(*first) {
            set_back.0.push(id);
            let times = rolled.back_to(*first, &calendar);
            set_back.1.iter_mut().zip(times).for_each(|(column, time)| column.push(time));
        }
    }
    let mut columns: (Vec<i64>, Vec<i64>, Vec<f64>) = Default::default();
    for ((series, at), value) in points {
        if ours.binary_search(&series).is_ok() {
            columns.0.push(series);
            columns.1.push(at);
            columns.2.push(value);
        }
    }
    if columns.0.is_empty() {
        return Ok(());
    }
    let insert = transaction
        .prepare_cached(
            "INSERT INTO tricast_history_points (series, at, value) \
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::double precision[]) \
             ON CONFLICT (series, at) DO UPDATE SET value = excluded.value",
        )
        .await?;
    transaction.execute(&insert, &[&columns.0, &columns.1, &columns.2]).await?;
    if !set_back.0.is_empty() {
        let update = transaction
            .prepare_cached(
                "UPDATE tricast_history_series AS s SET minutes_to = n.minutes, hours_to = n.hours, days_to = n.days, \
                 gone_ms = NULL FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) \
                 AS n (id, minutes, hours, days) WHERE s.id = n.id",
            )
            .await?;
        let (ids, [minutes, hours, days]) = &set_back;
        transaction.execute(&update, &[ids, minutes, hours, days]).await?;
    }
    Ok(transaction.commit().await?)
}

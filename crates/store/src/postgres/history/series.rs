//! Ids of series.

use std::collections::HashMap;

use deadpool_postgres::{Client, GenericClient};

use super::begin;
use crate::postgres::{Abort, lock_tenant, tenant_or_new};
use tricast_domain::history::{HistoryError, SeriesId, SeriesLimits, SeriesName};

/// Returns the ids of series by name, and creates missing ones; `None` for those beyond the `limits`.
pub(super) async fn series(
    client: &mut Client,
    tenant: String,
    names: Vec<SeriesName>,
    limits: SeriesLimits,
) -> Result<Vec<Option<SeriesId>>, Abort<HistoryError>> {
    let tenant = tenant_or_new(client, &tenant).await?;
    let channels: Vec<&str> = names.iter().map(|name| name.channel.as_str()).collect();
    let fields: Vec<&str> = names.iter().map(|name| &*name.field).collect();
    let mut known = known_series(client, tenant, &channels, &fields).await?;
    let answer = |known: &HashMap<(String, String), i64>| {
        let id = |(channel, field): (&&str, &&str)| known.get(&((*channel).to_owned(), (*field).to_owned()));
        channels.iter().zip(&fields).map(id).map(|id| id.copied().map(SeriesId)).collect::<Vec<_>>()
    };
    if answer(&known).iter().all(Option::is_some) {
        return Ok(answer(&known));
    }
    let transaction = begin(client).await?;
    // Otherwise two nodes would both take the last free place.
    lock_tenant(&transaction, tenant).await?;
    known = known_series(&transaction, tenant, &channels, &fields).await?;
    let count = transaction
        .prepare_cached("SELECT count(*) FROM tricast_history_series WHERE tenant = $1 AND gone_ms IS NULL")
        .await?;
    let there: i64 = transaction.query_one(&count, &[&tenant]).await?.get(0);
    let room = limits.room(there as usize);
    let count = transaction
        .prepare_cached(
            "SELECT channel, count(*) FROM tricast_history_series \
             WHERE tenant = $1 AND gone_ms IS NULL AND channel = ANY($2) GROUP BY channel",
        )
        .await?;
    let rows = transaction.query(&count, &[&tenant, &channels]).await?;
    let mut of_channel: HashMap<String, usize> =
        rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as usize)).collect();
    let mut new: Vec<(&str, &str)> = Vec::new();
    for name in channels.iter().copied().zip(fields.iter().copied()) {
        let missing = !known.contains_key(&(name.0.to_owned(), name.1.to_owned())) && !new.contains(&name);
        if missing && new.len() < room {
            let of_channel = of_channel.entry(name.0.to_owned()).or_default();
            if limits.room_of_channel(*of_channel) > 0 {
                *of_channel += 1;
                new.push(name);
            }
        }
    }
    if !new.is_empty() {
        let insert = transaction
            .prepare_cached(
                "INSERT INTO tricast_history_series (tenant, channel, field) \
                 SELECT $1, channel, field FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (channel, field, n) \
                 ORDER BY n ON CONFLICT (tenant, channel, field) DO UPDATE SET gone_ms = NULL \
                 RETURNING channel, field, id",
            )
            .await?;
        let (channels, fields): (Vec<&str>, Vec<&str>) = new.into_iter().unzip();
        for row in transaction.query(&insert, &[&tenant, &channels, &fields]).await? {
            known.insert((row.get(0), row.get(1)), row.get(2));
        }
    }
    transaction.commit().await?;
    Ok(answer(&known))
}

async fn known_series(
    client: &impl GenericClient,
    tenant: i64,
    channels: &[&str],
    fields: &[&str],
) -> Result<HashMap<(String, String), i64>, tokio_postgres::Error> {
    let find = client
        .prepare_cached(
            "SELECT channel, field, id FROM tricast_history_series \
             JOIN unnest($2::text[], $3::text[]) AS asked (channel, field) USING (channel, field) \
             WHERE tenant = $1 AND gone_ms IS NULL",
        )
        .await?;
    let rows = client.query(&find, &[&tenant, &channels, &fields]).await?;
    Ok(rows.into_iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

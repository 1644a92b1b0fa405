//! Machine keys in PostgreSQL: a row each.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Failure, PostgresStore, row, tenant};
use crate::{activity::Kind, key_rights::KeyRights};
use tricast_domain::keys::{Key, KeyError, KeyHash, KeyStore, StoreFuture, StoredKey};

/// Columns of a [`Key`], in the order of [`key_of`].
const COLUMNS: &str = "k.id, k.name, k.rights, k.created_ms, k.expires_ms, k.used_ms";

impl KeyStore for PostgresStore {
    fn insert(&self, tenant: &str, key: Key, hash: KeyHash, max: usize) -> StoreFuture<()> {
        self.transact("keys", tenant, move |client, tenant| {
            Box::pin(async move {
                let made = key.made.as_millisecond();
                let expired = client
                    .prepare_cached("DELETE FROM tricast_api_keys WHERE tenant = $1 AND expires_ms <= $2")
                    .await?;
                client.execute(&expired, &[&tenant, &made]).await?;
                let count = client
                    .prepare_cached(
                        "SELECT count(*), count(*) FILTER (WHERE name = $2) FROM tricast_api_keys WHERE tenant = $1",
                    )
                    .await?;
                let row = client.query_one(&count, &[&tenant, &key.name]).await?;
                let (keys, same): (i64, i64) = (row.get(0), row.get(1));
                key.check_room(same > 0, keys, max)?;
                let insert = client
                    .prepare_cached(
                        "INSERT INTO tricast_api_keys (id, tenant, name, hash, rights, created_ms, expires_ms) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    )
                    .await?;
                let rights = row::to_json(&KeyRights::of(&key))?;
                let expires = key.expires.map(Timestamp::as_millisecond);
                client.execute(&insert, &[&key.id, &tenant, &key.name, &&hash[..], &rights, &made, &expires]).await?;
                Ok(())
            })
        })
    }

    fn keys(&self, tenant: &str) -> StoreFuture<Vec<Key>> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let Some(tenant) = self::tenant(client, &tenant).await? else { return Ok(Vec::new()) };
                let sql = format!("SELECT {COLUMNS} FROM tricast_api_keys k WHERE k.tenant = $1 ORDER BY k.name");
                let select = client.prepare_cached(&sql).await?;
                let rows = client.query(&select, &[&tenant]).await?;
                Ok(rows.iter().map(key_of).collect::<Result<_, _>>()?)
            })
        })
    }

    fn delete(&self, tenant: &str, id_or_name: &str) -> StoreFuture<String> {
        let id_or_name = id_or_name.to_owned();
        self.transact("keys", tenant, move |client, tenant| {
            Box::pin(async move {
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_api_keys WHERE id = (SELECT id FROM tricast_api_keys \
                         WHERE tenant = $1 AND (id = $2 OR name = $2) ORDER BY id = $2 DESC LIMIT 1) RETURNING id",
                    )
                    .await?;
                let row = client.query_opt(&delete, &[&tenant, &id_or_name]).await?;
                Ok(row.ok_or(KeyError::NotFound)?.get(0))
            })
        })
    }

    fn find(&self, id: &str) -> StoreFuture<Option<StoredKey>> {
        let id = id.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {COLUMNS}, k.hash, t.name FROM tricast_api_keys k \
                     JOIN tricast_tenants t ON t.id = k.tenant WHERE k.id = $1"
                );
                let select = client.prepare_cached(&sql).await?;
                let Some(row) = client.query_opt(&select, &[&id]).await? else { return Ok(None) };
                let hash = KeyHash::try_from(row.get::<_, &[u8]>(6));
                let hash = hash.map_err(|error| Failure::Row(error.to_string()))?;
                Ok(Some(StoredKey { key: key_of(&row)?, hash, tenant: row.get(7) }))
            })
        })
    }

    fn existing(&self, ids: Vec<String>) -> StoreFuture<Vec<String>> {
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let select = client.prepare_cached("SELECT id FROM tricast_api_keys WHERE id = ANY($1)").await?;
                let rows = client.query(&select, &[&ids]).await?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            })
        })
    }

    fn note_uses(&self, uses: Vec<(String, Timestamp)>) -> StoreFuture<()> {
        let (ids, times): (Vec<_>, Vec<_>) = uses.into_iter().map(|(id, at)| (id, at.as_millisecond())).unzip();
        self.change("uses of keys", "", move |client| {
            Box::pin(async move {
                // Several nodes note the same keys: in one order, and without waiting for each other.
                let update = client
                    .prepare_cached(
                        "WITH due AS (SELECT k.id, u.at FROM tricast_api_keys k \
                         JOIN unnest($1::text[], $2::bigint[]) AS u (id, at) ON k.id = u.id \
                         WHERE coalesce(k.used_ms, 0) < u.at ORDER BY k.id FOR UPDATE OF k SKIP LOCKED) \
                         UPDATE tricast_api_keys k SET used_ms = due.at FROM due WHERE k.id = due.id",
                    )
                    .await?;
                client.execute(&update, &[&ids, &times]).await?;
                Ok(())
            })
        })
    }
}

fn key_of(row: &Row) -> Result<Key, Failure> {
    let rights: KeyRights = row::json(row, 2)?;
    let key = Key {
        id: row.get(0),
        name: row.get(1),
        read: Vec::new(),
        push: Vec::new(),
        permissions: Vec::new(),
        made: row::time(row, 3)?,
        expires: row::optional_time(row, 4)?,
        used: row::optional_time(row, 5)?,
    };
    rights.give(key).map_err(|error| Failure::Row(error.to_string()))
}

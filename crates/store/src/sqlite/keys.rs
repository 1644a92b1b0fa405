//! Machine keys in SQLite: a row each.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{SqliteStore, row, tenant, tenant_or_new};
use crate::key_rights::KeyRights;
use tricast_domain::keys::{Key, KeyError, KeyHash, KeyStore, StoreFuture, StoredKey};

/// Columns of a [`Key`], in the order of [`key_of`].
const COLUMNS: &str = "k.id, k.name, k.rights, k.created_ms, k.expires_ms, k.used_ms";

impl KeyStore for SqliteStore {
    fn insert(&self, tenant: &str, key: Key, hash: KeyHash, max: usize) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = tenant_or_new(connection, &tenant)?;
            let made = key.made.as_millisecond();
            connection
                .prepare_cached("DELETE FROM api_keys WHERE tenant = ?1 AND expires_ms <= ?2")?
                .execute((tenant, made))?;
            let mut count = connection
                .prepare_cached("SELECT count(*), count(*) FILTER (WHERE name = ?2) FROM api_keys WHERE tenant = ?1")?;
            let (keys, same): (i64, i64) =
                count.query_row((tenant, &key.name), |row| Ok((row.get(0)?, row.get(1)?)))?;
            key.check_room(same > 0, keys, max)?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO api_keys (id, tenant, name, hash, rights, created_ms, expires_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let rights = row::to_json(&KeyRights::of(&key))?;
            let expires = key.expires.map(Timestamp::as_millisecond);
            insert.execute((&key.id, tenant, &key.name, &hash[..], rights, made, expires))?;
            Ok(())
        })
    }

    fn keys(&self, tenant: &str) -> StoreFuture<Vec<Key>> {
        let tenant = tenant.to_owned();
        self.read(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(Vec::new()) };
            let sql = format!("SELECT {COLUMNS} FROM api_keys k WHERE k.tenant = ?1 ORDER BY k.name");
            let mut select = connection.prepare_cached(&sql)?;
            Ok(select.query_map([tenant], key_of)?.collect::<Result<_, _>>()?)
        })
    }

    fn delete(&self, tenant: &str, id_or_name: &str) -> StoreFuture<String> {
        let (tenant, id_or_name) = (tenant.to_owned(), id_or_name.to_owned());
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(KeyError::NotFound)?;
            let id = find_id(connection, tenant, &id_or_name)?.ok_or(KeyError::NotFound)?;
            connection.prepare_cached("DELETE FROM api_keys WHERE id = ?1")?.execute([&id])?;
            Ok(id)
        })
    }

    fn find(&self, id: &str) -> StoreFuture<Option<StoredKey>> {
        let id = id.to_owned();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS}, k.hash, t.name FROM api_keys k JOIN tenants t ON t.id = k.tenant WHERE k.id = ?1"
            );
            let mut select = connection.prepare_cached(&sql)?;
            let found = select.query_row([id], |row| {
                Ok(StoredKey { key: key_of(row)?, hash: row.get::<_, [u8; 32]>(6)?, tenant: row.get(7)? })
            });
            Ok(found.optional()?)
        })
    }

    fn existing(&self, ids: Vec<String>) -> StoreFuture<Vec<String>> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT 1 FROM api_keys WHERE id = ?1")?;
            let mut found = Vec::new();
            for id in ids {
                if select.exists([&id])? {
                    found.push(id);
                }
            }
            Ok(found)
        })
    }

    fn note_uses(&self, uses: Vec<(String, Timestamp)>) -> StoreFuture<()> {
        self.write_unsynced(move |connection| {
            let sql = "UPDATE api_keys SET used_ms = ?2 WHERE id = ?1 AND coalesce(used_ms, 0) < ?2";
            let mut update = connection.prepare_cached(sql)?;
            for (id, at) in uses {
                update.execute((id, at.as_millisecond()))?;
            }
            Ok(())
        })
    }
}

/// Returns the ID of the tenant's key that has this ID or, with lower precedence, this name.
fn find_id(connection: &Connection, tenant: i64, id_or_name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT id FROM api_keys WHERE tenant = ?1 AND (id = ?2 OR name = ?2) ORDER BY id = ?2 DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row((tenant, id_or_name), |row| row.get(0)).optional()
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<Key> {
    let rights: KeyRights = row::json(row, 2)?;
    let key = Key {
        id: row.get(0)?,
        name: row.get(1)?,
        read: Vec::new(),
        push: Vec::new(),
        permissions: Vec::new(),
        made: row::time(row, 3)?,
        expires: row::optional_time(row, 4)?,
        used: row::optional_time(row, 5)?,
    };
    rights.give(key).map_err(|error| row::unreadable(2, error))
}

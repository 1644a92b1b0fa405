//! Rules and alerts in SQLite: a row each, the rule as JSON.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use super::{Abort, SqliteStore, events, outbox, row, tenant, tenant_or_new};
use tricast_core::version::Version;
use tricast_domain::alerts::{
    Acknowledged, Alert, AlertError, AlertStore, Delivery, EngineData, News, Outgoing, Query, Raised, Resolution,
    Resolved, Rule, RuleReset, Sample, Settlement, Severity, StoreFuture, Target, Waiting,
};

/// Columns of an alert, as [`alert_of`] reads them.
const ALERT: &str = "id, rule, severity, metric, message, value, threshold, raised_ms, resolved_ms, acknowledged_by, \
    acknowledged_ms, targets";

impl AlertStore for SqliteStore {
    fn tenants(&self) -> StoreFuture<Vec<String>> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT name FROM tenants WHERE EXISTS (SELECT 1 FROM alert_rules WHERE tenant = tenants.id) \
                 OR EXISTS (SELECT 1 FROM alerts WHERE tenant = tenants.id AND resolved_ms IS NULL) ORDER BY name",
            )?;
            Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }

    fn rules(&self, tenant: &str) -> StoreFuture<Vec<Rule>> {
        self.of(tenant, |connection, tenant| Ok(rules(connection, tenant)?))
    }

    fn rule(&self, tenant: &str, id: &str) -> StoreFuture<Rule> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::NoRule)?;
            let mut select =
                connection.prepare_cached("SELECT rule, created_ms FROM alert_rules WHERE tenant = ?1 AND id = ?2")?;
            select.query_row((tenant, id), rule_of).optional()?.ok_or(AlertError::NoRule.into())
        })
    }

    fn insert_rule(&self, tenant: &str, rule: Rule, max: usize) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = tenant_or_new(connection, &tenant)?;
            let mut count = connection.prepare_cached(
                "SELECT count(*), count(*) FILTER (WHERE id = ?2) FROM alert_rules WHERE tenant = ?1",
            )?;
            let (rules, same): (i64, i64) =
                count.query_row((tenant, &rule.id), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rule.check_room(same > 0, rules, max)?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO alert_rules (tenant, id, rule, version, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let (text, version) = (row::to_json(&rule)?, rule.version as i64);
            insert.execute((tenant, &rule.id, text, version, rule.made.as_millisecond()))?;
            Ok(())
        })
    }

    fn replace_rule(
        &self,
        tenant: &str,
        rule: Rule,
        seen: Version,
        reset: Option<RuleReset>,
    ) -> StoreFuture<Option<Resolved>> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::Moved)?;
            let mut update = connection.prepare_cached(
                "UPDATE alert_rules SET rule = ?5, version = ?6 \
                 WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND created_ms = ?4",
            )?;
            let (number, made) = (seen.number as i64, seen.made.as_millisecond());
            if update.execute((tenant, &rule.id, number, made, row::to_json(&rule)?, rule.version as i64))? == 0 {
                return Err(AlertError::Moved.into());
            }
            reset.map_or(Ok(None), |reset| reset_rule(connection, tenant, &rule.id, reset))
        })
    }

    fn delete_rule(&self, tenant: &str, id: &str, seen: Version, reset: RuleReset) -> StoreFuture<Option<Resolved>> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::Moved)?;
            let mut delete = connection.prepare_cached(
                "DELETE FROM alert_rules WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND created_ms = ?4",
            )?;
            if delete.execute((tenant, &id, seen.number as i64, seen.made.as_millisecond()))? == 0 {
                return Err(AlertError::Moved.into());
            }
            reset_rule(connection, tenant, &id, reset)
        })
    }

    fn engine_data(&self, tenant: &str) -> StoreFuture<EngineData> {
        self.of(tenant, |connection, tenant| {
            let open = select(connection, "resolved_ms IS NULL ORDER BY id", tenant)?;
            Ok(EngineData { rules: rules(connection, tenant)?, open })
        })
    }

    fn raise(&self, tenant: &str, alert: Alert, outgoing: Outgoing) -> StoreFuture<Raised> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::NoRule)?;
            let mut there = connection.prepare_cached("SELECT 1 FROM alert_rules WHERE tenant = ?1 AND id = ?2")?;
            if !there.exists((tenant, &alert.rule_id))? {
                return Err(AlertError::NoRule.into());
            }
            let mut open = connection.prepare_cached(&format!(
                "SELECT {ALERT} FROM alerts WHERE tenant = ?1 AND rule = ?2 AND resolved_ms IS NULL"
            ))?;
            if let Some(open) = open.query_row((tenant, &alert.rule_id), alert_of).optional()? {
                return Ok(Raised::Open(Box::new(open)));
            }
            insert(connection, tenant, &alert)?;
            events::add(connection, tenant, &alert.event(News::Raised))?;
            Ok(Raised::New { deliveries: outbox::add(connection, tenant, &outgoing)? })
        })
    }

    fn resolve(&self, tenant: &str, resolution: Resolution) -> StoreFuture<Option<Resolved>> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(None) };
            resolve(connection, tenant, &resolution)
        })
    }

    fn alerts(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Alert>> {
        self.of(tenant, move |connection, tenant| {
            let (mut filter, mut values) = (String::new(), Vec::<&dyn ToSql>::new());
            let severity = query.severity.map(Severity::as_str);
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            values.push(&tenant);
            for (name, value) in [
                ("severity =", severity.as_ref().map(|text| text as &dyn ToSql)),
                ("rule =", query.rule.as_ref().map(|text| text as &dyn ToSql)),
                ("id <", query.before.as_ref().map(|text| text as &dyn ToSql)),
            ] {
                if let Some(value) = value {
                    values.push(value);
                    filter.push_str(&format!(" AND {name} ?{}", values.len()));
                }
            }
            filter.push_str(match query.open {
                None => "",
                Some(true) => " AND resolved_ms IS NULL",
                Some(false) => " AND resolved_ms IS NOT NULL",
            });
            values.push(&limit);
            let mut select = connection.prepare_cached(&format!(
                "SELECT {ALERT} FROM alerts WHERE tenant = ?1{filter} ORDER BY id DESC LIMIT ?{}",
                values.len()
            ))?;
            Ok(select.query_map(&*values, alert_of)?.collect::<Result<_, _>>()?)
        })
    }

    fn alert(&self, tenant: &str, id: &str) -> StoreFuture<Alert> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::NotFound)?;
            alert(connection, tenant, &id)?.ok_or(AlertError::NotFound.into())
        })
    }

    fn acknowledge(&self, tenant: &str, id: &str, by: &str, at: Timestamp) -> StoreFuture<Acknowledged> {
        let (tenant, id, by) = (tenant.to_owned(), id.to_owned(), by.to_owned());
        self.write(move |connection| {
            let tenant = self::tenant(connection, &tenant)?.ok_or(AlertError::NotFound)?;
            let mut update = connection.prepare_cached(
                "UPDATE alerts SET acknowledged_by = ?3, acknowledged_ms = ?4 \
                 WHERE tenant = ?1 AND id = ?2 AND acknowledged_by IS NULL",
            )?;
            let first = update.execute((tenant, &id, by, at.as_millisecond()))? > 0;
            let alert = alert(connection, tenant, &id)?.ok_or(AlertError::NotFound)?;
            let event = first.then(|| events::add(connection, tenant, &alert.event(News::Acknowledged)));
            Ok(Acknowledged { alert, event: event.transpose()? })
        })
    }

    fn keep_samples(&self, tenant: &str, samples: Vec<Sample>, forget: Vec<(String, Timestamp)>) -> StoreFuture<()> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let tenant = tenant_or_new(connection, &tenant)?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO alert_samples (tenant, rule, at_ms, value) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET value = excluded.value",
            )?;
            for Sample { rule, at, value } in samples {
                insert.execute((tenant, rule, at.as_millisecond(), value))?;
            }
            let mut delete = connection
                .prepare_cached("DELETE FROM alert_samples WHERE tenant = ?1 AND rule = ?2 AND at_ms < ?3")?;
            for (rule, before) in forget {
                delete.execute((tenant, rule, before.as_millisecond()))?;
            }
            Ok(())
        })
    }

    fn samples(&self, tenant: &str) -> StoreFuture<Vec<Sample>> {
        self.of(tenant, |connection, tenant| {
            let mut select = connection.prepare_cached(
                "SELECT rule, at_ms, value FROM alert_samples WHERE tenant = ?1 ORDER BY rule, at_ms",
            )?;
            let sample = |row: &Row<'_>| Ok(Sample { rule: row.get(0)?, at: row::time(row, 1)?, value: row.get(2)? });
            Ok(select.query_map([tenant], sample)?.collect::<Result<_, _>>()?)
        })
    }

    fn prune(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<u64> {
        let tenant = tenant.to_owned();
        self.write(move |connection| {
            let Some(tenant) = self::tenant(connection, &tenant)? else { return Ok(0) };
            let mut old = connection.prepare_cached("DELETE FROM alerts WHERE tenant = ?1 AND resolved_ms < ?2")?;
            let mut many = connection.prepare_cached(
                "DELETE FROM alerts WHERE tenant = ?1 AND id IN (SELECT id FROM alerts WHERE tenant = ?1 AND \
                 resolved_ms IS NOT NULL ORDER BY id DESC LIMIT -1 OFFSET ?2)",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            Ok((old.execute((tenant, before.as_millisecond()))? + many.execute((tenant, most))?) as u64)
        })
    }

    fn take(&self, target: Target, now: Timestamp, until: Timestamp, limit: usize) -> StoreFuture<Vec<Delivery>> {
        self.write(move |connection| Ok(outbox::take(connection, target, now, until, limit)?))
    }

    fn settle(&self, id: &str, attempt: u32, settlement: Settlement) -> StoreFuture<bool> {
        let id = id.to_owned();
        self.write(move |connection| Ok(outbox::settle(connection, &id, attempt, settlement)?))
    }

    fn waiting(&self) -> StoreFuture<Vec<Waiting>> {
        self.read(|connection| Ok(outbox::waiting(connection)?))
    }
}

impl SqliteStore {
    /// Reads data of a tenant; the default for a tenant that never wrote.
    fn of<T: Default + Send + 'static>(
        &self,
        tenant: &str,
        work: impl FnOnce(&Connection, i64) -> Result<T, Abort<AlertError>> + Send + 'static,
    ) -> StoreFuture<T> {
        let tenant = tenant.to_owned();
        self.read(move |connection| match self::tenant(connection, &tenant)? {
            Some(tenant) => work(connection, tenant),
            None => Ok(T::default()),
        })
    }
}

fn reset_rule(
    connection: &Connection,
    tenant: i64,
    rule: &str,
    reset: RuleReset,
) -> Result<Option<Resolved>, Abort<AlertError>> {
    connection.prepare_cached("DELETE FROM alert_samples WHERE tenant = ?1 AND rule = ?2")?.execute((tenant, rule))?;
    reset.0.map_or(Ok(None), |resolution| resolve(connection, tenant, &resolution))
}

fn resolve(
    connection: &Connection,
    tenant: i64,
    resolution: &Resolution,
) -> Result<Option<Resolved>, Abort<AlertError>> {
    let mut update = connection
        .prepare_cached("UPDATE alerts SET resolved_ms = ?3 WHERE tenant = ?1 AND id = ?2 AND resolved_ms IS NULL")?;
    if update.execute((tenant, &resolution.alert, resolution.at.as_millisecond()))? == 0 {
        return Ok(None);
    }
    let deliveries = outbox::add(connection, tenant, &resolution.outgoing)?;
    let Some(alert) = alert(connection, tenant, &resolution.alert)? else { return Ok(None) };
    events::add(connection, tenant, &alert.event(News::Resolved))?;
    Ok(Some(Resolved { alert, deliveries }))
}

fn rules(connection: &Connection, tenant: i64) -> rusqlite::Result<Vec<Rule>> {
    let mut select =
        connection.prepare_cached("SELECT rule, created_ms FROM alert_rules WHERE tenant = ?1 ORDER BY id")?;
    select.query_map([tenant], rule_of)?.collect()
}

fn select(connection: &Connection, which: &str, tenant: i64) -> rusqlite::Result<Vec<Alert>> {
    let mut select = connection.prepare_cached(&format!("SELECT {ALERT} FROM alerts WHERE tenant = ?1 AND {which}"))?;
    select.query_map([tenant], alert_of)?.collect()
}

fn alert(connection: &Connection, tenant: i64, id: &str) -> rusqlite::Result<Option<Alert>> {
    let mut select = connection.prepare_cached(&format!("SELECT {ALERT} FROM alerts WHERE tenant = ?1 AND id = ?2"))?;
    select.query_row((tenant, id), alert_of).optional()
}

fn insert(connection: &Connection, tenant: i64, alert: &Alert) -> rusqlite::Result<()> {
    let targets: Vec<_> = alert.targets.iter().map(|target| target.as_str()).collect();
    let mut insert = connection.prepare_cached(
        "INSERT INTO alerts (tenant, id, rule, severity, metric, message, value, threshold, raised_ms, targets) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let Alert { id, rule_id, severity, metric, message, value, threshold, raised_at, .. } = alert;
    let (severity, raised) = (severity.as_str(), raised_at.as_millisecond());
    let row = (tenant, id, rule_id, severity, metric, message, value, threshold, raised, targets.join(","));
    insert.execute(row).map(drop)
}

fn rule_of(row: &Row<'_>) -> rusqlite::Result<Rule> {
    Ok(Rule { made: row::time(row, 1)?, ..row::json(row, 0)? })
}

fn alert_of(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let targets: String = row.get(11)?;
    Ok(Alert {
        id: row.get(0)?,
        rule_id: row.get(1)?,
        severity: row::parsed(row, 2, Severity::parse)?,
        metric: row.get(3)?,
        message: row.get(4)?,
        value: row.get(5)?,
        threshold: row.get(6)?,
        raised_at: row::time(row, 7)?,
        resolved_at: row::optional_time(row, 8)?,
        acknowledged_by: row.get(9)?,
        acknowledged_at: row::optional_time(row, 10)?,
        targets: targets.split(',').filter_map(Target::parse).collect(),
    })
}

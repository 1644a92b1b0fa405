//! Rules and alerts in PostgreSQL: a row each, the rule as JSON.
//!
//! Changes that depend on what they read are made under the lock of the tenant's row, so that of two nodes one raises
//! an alert and the other gets the alert that is open.

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::{IsolationLevel, Row, types::ToSql};

use super::{Abort, Failure, PostgresStore, events, outbox, row, tenant};
use crate::activity::Kind;
use tricast_core::version::Version;
use tricast_domain::alerts::{
    Acknowledged, Alert, AlertError, AlertStore, Delivery, EngineData, News, Outgoing, Query, Raised, Resolution,
    Resolved, Rule, RuleReset, Sample, Settlement, Severity, StoreFuture, Target, Waiting,
};

/// Columns of an alert, as [`alert_of`] reads them.
const ALERT: &str = "id, rule, severity, metric, message, value, threshold, raised_ms, resolved_ms, acknowledged_by, \
    acknowledged_ms, targets";

impl AlertStore for PostgresStore {
    fn tenants(&self) -> StoreFuture<Vec<String>> {
        self.read_on_pool(Kind::Read, |client| {
            Box::pin(async move {
                let select = client
                    .prepare_cached(
                        "SELECT name FROM tricast_tenants AS t \
                         WHERE EXISTS (SELECT FROM tricast_alert_rules AS r WHERE r.tenant = t.id) \
                         OR EXISTS (SELECT FROM tricast_alerts AS a WHERE a.tenant = t.id AND resolved_ms IS NULL) \
                         ORDER BY name",
                    )
                    .await?;
                Ok(client.query(&select, &[]).await?.iter().map(|row| row.get(0)).collect())
            })
        })
    }

    fn rules(&self, tenant: &str) -> StoreFuture<Vec<Rule>> {
        self.of(tenant, |client, tenant| Box::pin(rules(client, tenant)))
    }

    fn rule(&self, tenant: &str, id: &str) -> StoreFuture<Rule> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let tenant = self::tenant(client, &tenant).await?.ok_or(AlertError::NoRule)?;
                let select = client
                    .prepare_cached("SELECT rule, created_ms FROM tricast_alert_rules WHERE tenant = $1 AND id = $2")
                    .await?;
                let row = client.query_opt(&select, &[&tenant, &id]).await?;
                Ok(rule_of(&row.ok_or(AlertError::NoRule)?)?)
            })
        })
    }

    fn insert_rule(&self, tenant: &str, rule: Rule, max: usize) -> StoreFuture<()> {
        self.transact("alerts", tenant, move |client, tenant| Box::pin(insert_rule(client, tenant, rule, max)))
    }

    fn replace_rule(
        &self,
        tenant: &str,
        rule: Rule,
        seen: Version,
        reset: Option<RuleReset>,
    ) -> StoreFuture<Option<Resolved>> {
        let stream = self.stream();
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                let update = client
                    .prepare_cached(
                        "UPDATE tricast_alert_rules SET rule = $5, version = $6 \
                         WHERE tenant = $1 AND id = $2 AND version = $3 AND created_ms = $4",
                    )
                    .await?;
                let (number, made, version) = (seen.number as i64, seen.made.as_millisecond(), rule.version as i64);
                let text = row::to_json(&rule)?;
                let changed = client.execute(&update, &[&tenant, &rule.id, &number, &made, &text, &version]).await?;
                if changed == 0 {
                    return Err(AlertError::Moved.into());
                }
                match reset {
                    Some(reset) => reset_rule(client, tenant, &stream, &rule.id, reset).await,
                    None => Ok(None),
                }
            })
        })
    }

    fn delete_rule(&self, tenant: &str, id: &str, seen: Version, reset: RuleReset) -> StoreFuture<Option<Resolved>> {
        let (id, stream) = (id.to_owned(), self.stream());
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                let delete = client
                    .prepare_cached(
                        "DELETE FROM tricast_alert_rules \
                         WHERE tenant = $1 AND id = $2 AND version = $3 AND created_ms = $4",
                    )
                    .await?;
                let (number, made) = (seen.number as i64, seen.made.as_millisecond());
                if client.execute(&delete, &[&tenant, &id, &number, &made]).await? == 0 {
                    return Err(AlertError::Moved.into());
                }
                reset_rule(client, tenant, &stream, &id, reset).await
            })
        })
    }

    fn engine_data(&self, tenant: &str) -> StoreFuture<EngineData> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| Box::pin(engine_data(client, tenant)))
    }

    fn raise(&self, tenant: &str, alert: Alert, outgoing: Outgoing) -> StoreFuture<Raised> {
        let (by, stream) = (self.inner.link.id.clone(), self.stream());
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                decides(client, tenant, &by).await?;
                raise(client, tenant, &stream, alert, outgoing).await
            })
        })
    }

    fn resolve(&self, tenant: &str, resolution: Resolution) -> StoreFuture<Option<Resolved>> {
        let (by, stream) = (self.inner.link.id.clone(), self.stream());
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                decides(client, tenant, &by).await?;
                resolve(client, tenant, &stream, &resolution).await
            })
        })
    }

    fn claim(&self, tenant: &str, lease: Duration) -> StoreFuture<bool> {
        let (node, lease) = (self.inner.link.id.clone(), lease.as_millis() as i64);
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                let claim = client
                    .prepare_cached(
                        "UPDATE tricast_tenants SET alerts_by = $2, \
                         alerts_until_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3 \
                         WHERE id = $1 AND (alerts_by = $2 OR alerts_by IS NULL \
                             OR alerts_until_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
                    )
                    .await?;
                Ok(client.execute(&claim, &[&tenant, &node, &lease]).await? > 0)
            })
        })
    }

    fn alerts(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Alert>> {
        self.of(tenant, move |client, tenant| Box::pin(page(client, tenant, query)))
    }

    fn alert(&self, tenant: &str, id: &str) -> StoreFuture<Alert> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                let tenant = self::tenant(client, &tenant).await?.ok_or(AlertError::NotFound)?;
                alert(client, tenant, &id).await?.ok_or(AlertError::NotFound.into())
            })
        })
    }

    fn acknowledge(&self, tenant: &str, id: &str, by: &str, at: Timestamp) -> StoreFuture<Acknowledged> {
        let (id, by, stream) = (id.to_owned(), by.to_owned(), self.stream());
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                let update = client
                    .prepare_cached(
                        "UPDATE tricast_alerts SET acknowledged_by = $3, acknowledged_ms = $4 \
                         WHERE tenant = $1 AND id = $2 AND acknowledged_by IS NULL",
                    )
                    .await?;
                let first = client.execute(&update, &[&tenant, &id, &by, &at.as_millisecond()]).await? > 0;
                let alert = alert(client, tenant, &id).await?.ok_or(AlertError::NotFound)?;
                if !first {
                    return Ok(Acknowledged { alert, event: None });
                }
                let event = events::add(client, tenant, &stream, &alert.event(News::Acknowledged)).await?;
                Ok(Acknowledged { alert, event: Some(event) })
            })
        })
    }

    fn keep_samples(&self, tenant: &str, samples: Vec<Sample>, forget: Vec<(String, Timestamp)>) -> StoreFuture<()> {
        self.transact("alerts", tenant, move |client, tenant| Box::pin(keep_samples(client, tenant, samples, forget)))
    }

    fn samples(&self, tenant: &str) -> StoreFuture<Vec<Sample>> {
        self.of(tenant, |client, tenant| {
            Box::pin(async move {
                let select = client
                    .prepare_cached(
                        "SELECT rule, at_ms, value FROM tricast_alert_samples WHERE tenant = $1 ORDER BY rule, at_ms",
                    )
                    .await?;
                let rows = client.query(&select, &[&tenant]).await?;
                let sample = |row: &Row| {
                    Ok::<_, Failure>(Sample { rule: row.get(0), at: row::time(row, 1)?, value: row.get(2) })
                };
                Ok(rows.iter().map(sample).collect::<Result<_, _>>()?)
            })
        })
    }

    fn prune(&self, tenant: &str, before: Timestamp, most: usize) -> StoreFuture<u64> {
        self.transact("alerts", tenant, move |client, tenant| {
            Box::pin(async move {
                let old =
                    client.prepare_cached("DELETE FROM tricast_alerts WHERE tenant = $1 AND resolved_ms < $2").await?;
                let many = client
                    .prepare_cached(
                        "DELETE FROM tricast_alerts WHERE tenant = $1 AND id IN (SELECT id FROM tricast_alerts \
                         WHERE tenant = $1 AND resolved_ms IS NOT NULL ORDER BY id DESC OFFSET $2)",
                    )
                    .await?;
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let old = client.execute(&old, &[&tenant, &before.as_millisecond()]).await?;
                Ok(old + client.execute(&many, &[&tenant, &most]).await?)
            })
        })
    }

    fn take(&self, target: Target, now: Timestamp, until: Timestamp, limit: usize) -> StoreFuture<Vec<Delivery>> {
        self.read_on_pool(Kind::Write, move |client| Box::pin(outbox::take(client, target, now, until, limit)))
    }

    fn settle(&self, id: &str, attempt: u32, settlement: Settlement) -> StoreFuture<bool> {
        let id = id.to_owned();
        self.read_on_pool(Kind::Write, move |client| Box::pin(outbox::settle(client, id, attempt, settlement)))
    }

    fn waiting(&self) -> StoreFuture<Vec<Waiting>> {
        self.read_on_pool(Kind::Read, |client| Box::pin(outbox::waiting(client)))
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl PostgresStore {
    /// Reads data of a tenant; the default for a tenant that never wrote.
    fn of<T: Default + Send + 'static>(
        &self,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a Client, i64) -> BoxFuture<'a, Result<T, Abort<AlertError>>> + Send + 'static,
    ) -> StoreFuture<T> {
        let tenant = tenant.to_owned();
        self.read_on_pool(Kind::Read, move |client| {
            Box::pin(async move {
                match self::tenant(client, &tenant).await? {
                    Some(tenant) => work(client, tenant).await,
                    None => Ok(T::default()),
                }
            })
        })
    }
}

/// Refuses to decide while another process has the claim.
async fn decides(client: &Client, tenant: i64, node: &str) -> Result<(), Abort<AlertError>> {
    let find = client
        .prepare_cached(
            "SELECT FROM tricast_tenants WHERE id = $1 AND alerts_by <> $2 \
             AND alerts_until_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        )
        .await?;
    if client.query_opt(&find, &[&tenant, &node]).await?.is_some() {
        Err(AlertError::NotDeciding.into())
    } else {
        Ok(())
    }
}

async fn insert_rule(client: &Client, tenant: i64, rule: Rule, max: usize) -> Result<(), Abort<AlertError>> {
    let count = client
        .prepare_cached("SELECT count(*), count(*) FILTER (WHERE id = $2) FROM tricast_alert_rules WHERE tenant = $1")
        .await?;
    let row = client.query_one(&count, &[&tenant, &rule.id]).await?;
    let (rules, same): (i64, i64) = (row.get(0), row.get(1));
    rule.check_room(same > 0, rules, max)?;
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_alert_rules (tenant, id, rule, version, created_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .await?;
    let (text, version) = (row::to_json(&rule)?, rule.version as i64);
    client.execute(&insert, &[&tenant, &rule.id, &text, &version, &rule.made.as_millisecond()]).await?;
    Ok(())
}

async fn reset_rule(
    client: &Client,
    tenant: i64,
    stream: &str,
    rule: &str,
    reset: RuleReset,
) -> Result<Option<Resolved>, Abort<AlertError>> {
    let delete = client.prepare_cached("DELETE FROM tricast_alert_samples WHERE tenant = $1 AND rule = $2").await?;
    client.execute(&delete, &[&tenant, &rule]).await?;
    match reset.0 {
        Some(resolution) => resolve(client, tenant, stream, &resolution).await,
        None => Ok(None),
    }
}

async fn raise(
    client: &Client,
    tenant: i64,
    stream: &str,
    alert: Alert,
    outgoing: Outgoing,
) -> Result<Raised, Abort<AlertError>> {
    let there = client.prepare_cached("SELECT FROM tricast_alert_rules WHERE tenant = $1 AND id = $2").await?;
    if client.query_opt(&there, &[&tenant, &alert.rule_id]).await?.is_none() {
        return Err(AlertError::NoRule.into());
    }
    let sql = format!("SELECT {ALERT} FROM tricast_alerts WHERE tenant = $1 AND rule = $2 AND resolved_ms IS NULL");
    let open = client.prepare_cached(&sql).await?;
    if let Some(open) = client.query_opt(&open, &[&tenant, &alert.rule_id]).await? {
        return Ok(Raised::Open(Box::new(alert_of(&open)?)));
    }
    insert(client, tenant, &alert).await?;
    events::add(client, tenant, stream, &alert.event(News::Raised)).await?;
    Ok(Raised::New { deliveries: outbox::add(client, tenant, &outgoing).await? })
}

async fn resolve(
    client: &Client,
    tenant: i64,
    stream: &str,
    resolution: &Resolution,
) -> Result<Option<Resolved>, Abort<AlertError>> {
    let sql = format!(
        "UPDATE tricast_alerts SET resolved_ms = $3 WHERE tenant = $1 AND id = $2 AND resolved_ms IS NULL \
         RETURNING {ALERT}"
    );
    let update = client.prepare_cached(&sql).await?;
    let ended = client.query_opt(&update, &[&tenant, &resolution.alert, &resolution.at.as_millisecond()]).await?;
    let Some(ended) = ended else { return Ok(None) };
    let alert = alert_of(&ended)?;
    events::add(client, tenant, stream, &alert.event(News::Resolved)).await?;
    let deliveries = outbox::add(client, tenant, &resolution.outgoing).await?;
    Ok(Some(Resolved { alert, deliveries }))
}

async fn engine_data(client: &mut Client, name: String) -> Result<EngineData, Abort<AlertError>> {
    let Some(tenant) = tenant(client, &name).await? else { return Ok(EngineData::default()) };
    // One snapshot for both.
    let snapshot =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    let sql = format!("SELECT {ALERT} FROM tricast_alerts WHERE tenant = $1 AND resolved_ms IS NULL ORDER BY id");
    let select = snapshot.prepare_cached(&sql).await?;
    let open = snapshot.query(&select, &[&tenant]).await?.iter().map(alert_of).collect::<Result<_, _>>()?;
    let rules = rules(&snapshot, tenant).await?;
    snapshot.commit().await?;
    Ok(EngineData { rules, open })
}

async fn rules(client: &impl GenericClient, tenant: i64) -> Result<Vec<Rule>, Abort<AlertError>> {
    let select =
        client.prepare_cached("SELECT rule, created_ms FROM tricast_alert_rules WHERE tenant = $1 ORDER BY id").await?;
    let rows = client.query(&select, &[&tenant]).await?;
    Ok(rows.iter().map(rule_of).collect::<Result<_, _>>()?)
}

async fn alert(client: &impl GenericClient, tenant: i64, id: &str) -> Result<Option<Alert>, Abort<AlertError>> {
    let sql = format!("SELECT {ALERT} FROM tricast_alerts WHERE tenant = $1 AND id = $2");
    let select = client.prepare_cached(&sql).await?;
    let row = client.query_opt(&select, &[&tenant, &id]).await?;
    Ok(row.as_ref().map(alert_of).transpose()?)
}

async fn page(client: &Client, tenant: i64, query: Query) -> Result<Vec<Alert>, Abort<AlertError>> {
    let (mut filter, mut values) = (String::new(), Vec::<&(dyn ToSql + Sync)>::new());
    let severity = query.severity.map(Severity::as_str);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    values.push(&tenant);
    for (name, value) in [
        ("severity =", severity.as_ref().map(|text| text as &(dyn ToSql + Sync))),
        ("rule =", query.rule.as_ref().map(|text| text as &(dyn ToSql + Sync))),
        ("id <", query.before.as_ref().map(|text| text as &(dyn ToSql + Sync))),
    ] {
        if let Some(value) = value {
            values.push(value);
            filter.push_str(&format!(" AND {name} ${}", values.len()));
        }
    }
    filter.push_str(match query.open {
        None => "",
        Some(true) => " AND resolved_ms IS NULL",
        Some(false) => " AND resolved_ms IS NOT NULL",
    });
    values.push(&limit);
    let sql = format!(
        "SELECT {ALERT} FROM tricast_alerts WHERE tenant = $1{filter} ORDER BY id DESC LIMIT ${}",
        values.len()
    );
    let select = client.prepare_cached(&sql).await?;
    let rows = client.query(&select, &values).await?;
    Ok(rows.iter().map(alert_of).collect::<Result<_, _>>()?)
}

async fn keep_samples(
    client: &Client,
    tenant: i64,
    samples: Vec<Sample>,
    forget: Vec<(String, Timestamp)>,
) -> Result<(), Abort<AlertError>> {
    // One statement must not touch a row twice; the later of two stays.
    let samples: std::collections::BTreeMap<(String, i64), f64> =
        samples.into_iter().map(|Sample { rule, at, value }| ((rule, at.as_millisecond()), value)).collect();
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_alert_samples (tenant, rule, at_ms, value) \
             SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::double precision[]) \
             ON CONFLICT (tenant, rule, at_ms) DO UPDATE SET value = excluded.value",
        )
        .await?;
    let rules: Vec<&str> = samples.keys().map(|(rule, _)| rule.as_str()).collect();
    let times: Vec<i64> = samples.keys().map(|(_, at)| *at).collect();
    let values: Vec<f64> = samples.values().copied().collect();
    client.execute(&insert, &[&tenant, &rules, &times, &values]).await?;
    let delete = client
        .prepare_cached(
            "DELETE FROM tricast_alert_samples AS s USING unnest($2::text[], $3::bigint[]) AS old (rule, before) \
             WHERE s.tenant = $1 AND s.rule = old.rule AND s.at_ms < old.before",
        )
        .await?;
    let (rules, before): (Vec<String>, Vec<i64>) =
        forget.into_iter().map(|(rule, before)| (rule, before.as_millisecond())).unzip();
    client.execute(&delete, &[&tenant, &rules, &before]).await?;
    Ok(())
}

async fn insert(client: &Client, tenant: i64, alert: &Alert) -> Result<(), Abort<AlertError>> {
    let insert = client
        .prepare_cached(
            "INSERT INTO tricast_alerts (tenant, id, rule, severity, metric, message, value, threshold, raised_ms, \
             targets) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .await?;
    let targets: Vec<_> = alert.targets.iter().map(|target| target.as_str()).collect();
    let Alert { id, rule_id, severity, metric, message, value, threshold, raised_at, .. } = alert;
    let (severity, raised, targets) = (severity.as_str(), raised_at.as_millisecond(), targets.join(","));
    client
        .execute(&insert, &[&tenant, id, rule_id, &severity, metric, message, value, threshold, &raised, &targets])
        .await?;
    Ok(())
}

fn rule_of(row: &Row) -> Result<Rule, Failure> {
    Ok(Rule { made: row::time(row, 1)?, ..row::json(row, 0)? })
}

fn alert_of(row: &Row) -> Result<Alert, Failure> {
    let targets: &str = row.get(11);
    Ok(Alert {
        id: row.get(0),
        rule_id: row.get(1),
        severity: row::parsed(row, 2, Severity::parse)?,
        metric: row.get(3),
        message: row.get(4),
        value: row.get(5),
        threshold: row.get(6),
        raised_at: row::time(row, 7)?,
        resolved_at: row::optional_time(row, 8)?,
        acknowledged_by: row.get(9),
        acknowledged_at: row::optional_time(row, 10)?,
        targets: targets.split(',').filter_map(Target::parse).collect(),
    })
}

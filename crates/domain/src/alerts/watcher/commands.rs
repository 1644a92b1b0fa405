//! Changes by clients: rules and acknowledgements.

use jiff::Timestamp;

use super::Watch;
use crate::{
    alerts::{
        Acknowledged, AlertError, NewRule, Rule, RuleReset,
        command::{Command, DEADLINE},
    },
    service::{ServiceError, StoreError, confirmed, in_time},
};
use tricast_core::version::IfMatch;

/// Largest number of times that a change is made again because another node stored a newer version first.
const ATTEMPTS: usize = 5;

impl Watch {
    /// Applies a change and replies to its caller.
    pub(super) async fn carry_out(&mut self, command: Command) {
        // The caller may have stopped waiting.
        match command {
            Command::Create(new, reply) => drop(reply.send(self.create(new).await)),
            Command::Replace { id, new, if_match, reply } => {
                let result = self.replace(&id, new, if_match.as_ref()).await;
                drop(reply.send(result));
            }
            Command::Delete { id, if_match, reply } => {
                let result = self.delete(&id, if_match.as_ref()).await;
                drop(reply.send(result));
            }
            Command::Acknowledge { id, by, reply } => drop(reply.send(self.acknowledge(&id, &by).await)),
        }
    }

    async fn create(&mut self, new: NewRule) -> Result<Rule, AlertError> {
        let now = self.shared.clock.now_ms();
        let rule = new.build(now)?;
        let max = self.shared.alerting.config.max_rules;
        let kept = confirmed(DEADLINE, self.shared.store().insert_rule(&self.shared.tenant, rule.clone(), max)).await;
        self.doubt(&kept);
        kept?;
        self.watch(rule.clone(), now);
        Ok(rule)
    }

    async fn replace(&mut self, id: &str, new: NewRule, if_match: Option<&IfMatch>) -> Result<Rule, AlertError> {
        for _ in 0..ATTEMPTS {
            let now = self.shared.clock.now_ms();
            let before = in_time(DEADLINE, self.shared.store().rule(&self.shared.tenant, id)).await?;
            let rule = new.clone().replace(&before, if_match)?;
            if rule.version == before.version {
                return Ok(rule);
            }
            let reset = (!rule.watches_the_same(&before)).then(|| self.reset(id, now));
            let written = self.shared.store().replace_rule(&self.shared.tenant, rule.clone(), before.version(), reset);
            let written = confirmed(DEADLINE, written).await;
            self.doubt(&written);
            match written {
                // Another node stored a newer version first.
                Err(AlertError::Moved) => {}
                Err(error) => return Err(error),
                Ok(resolved) => {
                    resolved.into_iter().for_each(|resolved| self.on_resolved(resolved));
                    self.watch(rule.clone(), now);
                    return Ok(rule);
                }
            }
        }
        Err(ServiceError::Busy.into())
    }

    async fn delete(&mut self, id: &str, if_match: Option<&IfMatch>) -> Result<(), AlertError> {
        for _ in 0..ATTEMPTS {
            let rule = in_time(DEADLINE, self.shared.store().rule(&self.shared.tenant, id)).await?;
            if if_match.is_some_and(|if_match| !if_match.holds(rule.version())) {
                return Err(AlertError::Moved);
            }
            let reset = self.reset(id, self.shared.clock.now_ms());
            let deleted =
                confirmed(DEADLINE, self.shared.store().delete_rule(&self.shared.tenant, id, rule.version(), reset))
                    .await;
            self.doubt(&deleted);
            match deleted {
                Err(AlertError::Moved) => {}
                Err(error) => return Err(error),
                Ok(resolved) => {
                    resolved.into_iter().for_each(|resolved| self.on_resolved(resolved));
                    self.forget(id);
                    return Ok(());
                }
            }
        }
        Err(ServiceError::Busy.into())
    }

    async fn acknowledge(&mut self, id: &str, by: &str) -> Result<Acknowledged, AlertError> {
        let now = self.shared.clock.now_ms();
        let acknowledged =
            confirmed(DEADLINE, self.shared.store().acknowledge(&self.shared.tenant, id, by, now)).await?;
        if let Some(seq) = acknowledged.event {
            let alert = &acknowledged.alert;
            if self.engine.alert(&alert.rule_id).is_some_and(|open| open.id == alert.id) {
                self.engine.set_open(&alert.rule_id, Some(alert.clone()));
            }
            self.shared.relay.stored(seq);
        }
        Ok(acknowledged)
    }

    /// Has the store read again, because a change that failed may have been made.
    fn doubt<T>(&mut self, result: &Result<T, AlertError>) {
        self.doubtful |= match result {
            Err(AlertError::Store(error)) => !matches!(error, StoreError::Full | StoreError::ReadOnly),
            Err(AlertError::Service(_)) => true,
            _ => false,
        };
    }

    fn reset(&self, rule: &str, now: Timestamp) -> RuleReset {
        RuleReset(self.engine.alert(rule).map(|alert| self.resolution(alert, now)))
    }
}

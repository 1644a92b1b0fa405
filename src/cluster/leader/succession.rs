//! What a leader takes over from the one before it: the values as this node has read them, the series as they were last
//! kept, and the samples that came since.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use redis::cmd;
use tokio::time::{Instant, timeout};

use super::{CATCH_UP, Deciding, GROUPS, KEEP, Term, pushed};
use crate::{
    cluster::{
        connection::Connection,
        ended::Ended,
        node::{Followed, Node},
        stream,
        wire::{Answered, Entry, Head},
    },
    core::{decider::Decider, position::Epoch, sample::Dump},
};

/// Readings that were refused: of which node, of which of its groups, which batch of that, and which reading of it.
type Refused = HashSet<(String, u64, usize, usize)>;

impl<'a> Term<'a> {
    /// Takes up the work of the leader before this one, once this node has read all that it wrote.
    pub(super) async fn begin(node: &'a Arc<Node>, mut connection: Connection, epoch: Epoch) -> Result<Self, Ended> {
        let mut state = cmd("HMGET");
        state.arg(node.keys.of(&epoch, "state")).arg(&["seq", "word", "inbox", "dumped", "dumped_seq"]);
        let state: [Option<String>; 5] = state.query_async(&mut connection).await?;
        let [seq, word, inbox, dumped, dumped_seq] = state;
        let seq = seq.and_then(|seq| seq.parse().ok()).unwrap_or(0);
        let (word, inbox) = (word.unwrap_or_default(), inbox.unwrap_or_else(|| "0-0".into()));
        let mut followed = node.followed.subscribe();
        let reached = |followed: &Option<Followed>| matches!(followed, Some(of) if of.epoch == epoch && of.seq >= seq);
        match timeout(CATCH_UP, followed.wait_for(reached)).await {
            Ok(Ok(followed)) if followed.as_ref().is_some_and(|of| of.seq == seq && of.word == word) => {}
            Ok(Ok(_)) => return Err(Ended::Lost("entries of the log are gone".into())),
            _ => return Err(Ended::Behind),
        }
        let tenants: Vec<String> =
            cmd("HKEYS").arg(node.keys.of(&epoch, "tenants")).query_async(&mut connection).await?;
        let mut term = Self {
            node,
            connection,
            epoch,
            seq,
            word,
            since_kept: 0,
            inbox,
            deciding: HashMap::new(),
            sizes: VecDeque::new(),
            size: 0,
            is_full: false,
            keep_at: Instant::now() + KEEP,
        };
        for tenant in tenants {
            term.take_up(&tenant).await?;
        }
        let refused = term.refused_since(dumped_seq.as_deref().unwrap_or("0")).await?;
        term.count_again(&dumped.unwrap_or_else(|| "0-0".into()), &refused).await?;
        Ok(term)
    }

    /// Begins to decide about a tenant.
    pub(super) async fn take_up(&mut self, tenant: &str) -> Result<(), Ended> {
        let Node { keys, clock, aggregator, .. } = &**self.node;
        let series = keys.kept(&self.epoch, tenant, "series");
        let dumps: Vec<String> = cmd("HVALS").arg(series).query_async(&mut self.connection).await?;
        let dumps = dumps.iter().map(|dump| serde_json::from_str::<Dump>(dump)).collect::<Result<Vec<_>, _>>()?;
        let log = self.node.replica(tenant);
        let decider = Decider::take_over(clock.clone(), aggregator.clone(), &log, dumps.into_iter());
        let contents = log.contents();
        let head = Head { head: contents.head, snapshot: contents.snapshot, dropped: contents.dropped };
        self.deciding.insert(tenant.into(), Deciding { decider, log, head, cached: 0 });
        Ok(())
    }

    /// Readings that were refused by the entries after `seq`.
    async fn refused_since(&mut self, seq: &str) -> Result<Refused, Ended> {
        let key = self.node.keys.of(&self.epoch, "log");
        let (mut from, to) = (format!("({seq}-0"), format!("{}-0", self.seq));
        let mut refused = Refused::new();
        loop {
            let items = stream::range(&mut self.connection, &key, &from, &to, GROUPS).await?;
            let Some(last) = items.last() else { return Ok(refused) };
            from = format!("({}", last.id);
            for item in &items {
                let entry: Entry = serde_json::from_slice(&item.get::<Vec<u8>>("e").unwrap_or_default())?;
                for Answered { node, seq, refused: readings } in entry.replies {
                    let readings = readings.into_iter().map(|(batch, reading, _)| (node.clone(), seq, batch, reading));
                    refused.extend(readings);
                }
            }
        }
    }

    /// Counts the samples that were accepted after the series were last written.
    async fn count_again(&mut self, dumped: &str, refused: &Refused) -> Result<(), Ended> {
        let key = self.node.keys.of(&self.epoch, "inbox");
        let mut from = format!("({dumped}");
        loop {
            let items = stream::range(&mut self.connection, &key, &from, &self.inbox, GROUPS).await?;
            let Some(last) = items.last() else { return Ok(()) };
            from = format!("({}", last.id);
            for item in &items {
                let (Some(node), Some(seq), Ok(batches)) = (item.get::<String>("n"), item.get("s"), pushed(item))
                else {
                    // It was passed over when it was decided, too.
                    continue;
                };
                for (number, batch) in batches.into_iter().enumerate() {
                    let Some(of) = self.deciding.get_mut(&*batch.tenant) else { continue };
                    let readings = batch.readings.into_owned().into_iter().enumerate();
                    let accepted = readings.filter(|(at, _)| !refused.contains(&(node.clone(), seq, number, *at)));
                    of.decider.count_again(accepted.map(|(_, reading)| reading).collect());
                }
            }
        }
    }
}

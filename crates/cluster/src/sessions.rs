//! Sessions of clients that any node may continue. Redis has a copy of each, and one holder at a time may write it.
//!
//! ```text
//! node A: store(1.1) store(1.2) ...........store(1.3) refused     late, the session has another holder
//! node B:                       claim = 2 store(2.1)
//! ```
//!
//! A claim begins the next generation of a session, which fences its former holder off: copies of an earlier generation are
//! refused, however late they arrive. The former copy stays until the new holder has stored its own, so that no crash in
//! between loses the session. Of several claims at the same time the last one counts: the others find that their
//! first copy is refused.

use std::time::Duration;

use redis::{FromRedisValue, RedisResult, Script};

use super::{Cluster, Unreachable, scripts};

/// Time for which copies of an ended session are refused: longer than one can be on its way.
const REFUSED: Duration = Duration::from_secs(60);

/// Number of a copy of a session. A greater one is newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// Generation of the session in which the copy was made. It grows with each claim.
    pub generation: u64,
    /// Number of changes in that generation.
    pub change: u64,
}

/// Copy of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionCopy<'a> {
    /// Name of the session, which should not be its secret.
    pub name: &'a str,
    /// Text that has to be equal in a claim; not empty.
    pub owner: &'a str,
    /// Number of the copy.
    pub edition: Edition,
    /// The session in the format of its transport, which the bus does not read.
    pub content: &'a [u8],
}

/// A claimed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Generation that the claim has begun.
    pub generation: u64,
    /// The newest copy in Redis, if there is one.
    pub copy: Option<(Edition, Vec<u8>)>,
}

impl Cluster {
    /// Stores a copy of a session for `lifetime`. Returns whether its generation is still the newest one: otherwise the session
    /// has another holder, or has ended, and nothing was stored. A copy that is older than the stored one changes nothing.
    ///
    /// # Errors
    /// [`Unreachable`]: the outcome is unknown.
    pub async fn store_session(&self, copy: &SessionCopy<'_>, lifetime: Duration) -> Result<bool, Unreachable> {
        let SessionCopy { name, owner, edition: Edition { generation, change }, content } = copy;
        self.run_of_session(&scripts::STORE_SESSION, name, |script| {
            script.arg(*owner).arg(*generation).arg(*change).arg(*content).arg(millis(lifetime));
        })
        .await
    }

    /// Claims a session of `owner`, which is then kept for `lifetime`. `known` is the generation that this node has of it, 0 for
    /// none: a session that has not reached Redis yet is claimed all the same. `None` if there is no such session, it has ended,
    /// or it is of another owner.
    ///
    /// # Errors
    /// [`Unreachable`]: the outcome is unknown.
    pub async fn claim_session(
        &self,
        name: &str,
        owner: &str,
        known: u64,
        lifetime: Duration,
    ) -> Result<Option<Claimed>, Unreachable> {
        type Reply = (u64, u64, u64, Vec<u8>);
        let claimed: Option<Reply> = self
            .run_of_session(&scripts::CLAIM_SESSION, name, |script| {
                script.arg(owner).arg(known).arg(millis(lifetime));
            })
            .await?;
        Ok(claimed.map(|(generation, of, change, content)| {
            let edition = Edition { generation: of, change };
            Claimed { generation, copy: (of > 0).then_some((edition, content)) }
        }))
    }

    /// Ends a session, unless it has another holder than that of `generation`.
    ///
    /// # Errors
    /// [`Unreachable`]: the outcome is unknown.
    pub async fn end_session(&self, name: &str, generation: u64) -> Result<(), Unreachable> {
        self.run_of_session(&scripts::END_SESSION, name, |script| {
            script.arg(generation).arg(millis(REFUSED));
        })
        .await
    }

    /// Runs a script on the key of a session.
    async fn run_of_session<T: FromRedisValue>(
        &self,
        script: &Script,
        name: &str,
        arguments: impl Fn(&mut redis::ScriptInvocation<'_>),
    ) -> Result<T, Unreachable> {
        let key = self.node.keys.session(name);
        let reply: RedisResult<T> = self
            .node
            .link
            .request(async |connection| {
                let mut script = script.prepare_invoke();
                script.key(&key);
                arguments(&mut script);
                script.invoke_async(connection).await
            })
            .await;
        reply.map_err(|error| {
            tracing::debug!(%error, "the copy of a session is not reachable");
            Unreachable
        })
    }
}

fn millis(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1)
}

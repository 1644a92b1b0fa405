//! Cache of keys: those in use, and those that were unknown a moment ago.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use tricast_auth::{BindingLists, Grant, Identity, KeyInUse, Permissions, TenantName, TokenError};
use tricast_core::channel::Selector;
use tricast_domain::keys::{KeyHash, StoredKey};

/// Most keys in the cache. Beyond it those that no stream holds are removed.
const MAX_KEYS: usize = 4_096;

/// Most unknown keys that are remembered.
const MAX_UNKNOWN: usize = 4_096;

/// Time for which an unknown key is refused without asking the store again. IDs are random, so that one that is unknown never
/// becomes known, unless the store was restored from a backup.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Time without a request and without a stream after which a key is removed, so that an idle server does not ask for it.
const IDLE: Duration = Duration::from_secs(60);

/// Shortest time between two stored uses of a key, in seconds.
const BETWEEN_USES: i64 = 3_600;

/// Keys that this process knows, by ID.
#[derive(Default)]
pub(super) struct Known {
    keys: HashMap<String, Entry>,
    unknown: HashMap<String, Instant>,
}

/// A key of the store.
struct Entry {
    identity: Identity,
    key: KeyInUse,
    hash: KeyHash,
    /// Time of the newest request with it.
    requested: Instant,
    /// Time at which the store was last asked, with the reply that it has the key.
    confirmed: Instant,
    /// Time of the newest use that is stored.
    stored_use: Option<Timestamp>,
    /// Time of a use that has to be stored.
    pending_use: Option<Timestamp>,
}

impl Known {
    /// Returns the result for a key: `None` if the store has to be asked. `is_right` compares the hash of its secret.
    pub(super) fn get(
        &mut self,
        id: &str,
        is_right: impl FnOnce(&KeyHash) -> bool,
        now: Timestamp,
    ) -> Option<Result<Identity, TokenError>> {
        let Some(entry) = self.keys.get_mut(id) else {
            let asked = self.unknown.get(id)?;
            return (asked.elapsed() < UNKNOWN).then_some(Err(TokenError::NoSuchKey));
        };
        if !is_right(&entry.hash) {
            return Some(Err(TokenError::NoSuchKey));
        }
        if entry.identity.expires_at.is_some_and(|end| now >= end) {
            return Some(Err(TokenError::Expired));
        }
        entry.requested = Instant::now();
        let newest = entry.pending_use.or(entry.stored_use);
        if newest.is_none_or(|newest| now.as_second() - newest.as_second() >= BETWEEN_USES) {
            entry.pending_use = Some(now);
        }
        Some(Ok(entry.identity.clone()))
    }

    /// Adds a key that the store had at `asked`, unless it is there: streams may hold the entry.
    ///
    /// # Errors
    /// [`TokenError::NoSuchKey`] for one that this version can't read.
    pub(super) fn add(&mut self, stored: StoredKey, asked: Instant) -> Result<(), TokenError> {
        let id = stored.key.id.clone();
        let entry = entry(stored, asked).ok_or(TokenError::NoSuchKey)?;
        if self.keys.len() >= MAX_KEYS {
            self.keys.retain(|_, entry| entry.is_held());
        }
        self.keys.entry(id).or_insert(entry);
        Ok(())
    }

    /// Remembers that the store does not have this key.
    pub(super) fn add_unknown(&mut self, id: &str) {
        if self.unknown.len() >= MAX_UNKNOWN {
            self.unknown.clear();
        }
        self.unknown.insert(id.to_owned(), Instant::now());
    }

    /// Removes keys that are not used any more, and returns the IDs of the others.
    pub(super) fn used(&mut self) -> Vec<String> {
        self.unknown.retain(|_, asked| asked.elapsed() < UNKNOWN);
        self.keys.retain(|_, entry| entry.is_held() || entry.pending_use.is_some() || entry.requested.elapsed() < IDLE);
        self.keys.keys().cloned().collect()
    }

    /// Notes that the store was asked for `ids` at `asked` and had those of `existing`. Returns the IDs of the other keys.
    pub(super) fn confirm(&mut self, ids: Vec<String>, existing: &HashSet<String>, asked: Instant) -> Vec<String> {
        for id in existing {
            if let Some(entry) = self.keys.get_mut(id) {
                entry.confirmed = asked;
            }
        }
        ids.into_iter().filter(|id| !existing.contains(id)).collect()
    }

    /// Returns the IDs of keys that were not confirmed for `time`.
    pub(super) fn unconfirmed_for(&self, time: Duration) -> Vec<String> {
        let old = self.keys.iter().filter(|(_, entry)| entry.confirmed.elapsed() > time);
        old.map(|(id, _)| id.clone()).collect()
    }

    /// Removes a key and ends its streams. Returns whether it was there.
    pub(super) fn revoke(&mut self, id: &str) -> bool {
        let entry = self.keys.remove(id);
        if let Some(entry) = &entry {
            entry.key.revoke();
        }
        entry.is_some()
    }

    /// Returns the uses that have to be stored.
    pub(super) fn pending_uses(&self) -> Vec<(String, Timestamp)> {
        self.keys.iter().filter_map(|(id, entry)| Some((id.clone(), entry.pending_use?))).collect()
    }

    /// Notes that these uses are stored.
    pub(super) fn uses_stored(&mut self, uses: &[(String, Timestamp)]) {
        for (id, at) in uses {
            if let Some(entry) = self.keys.get_mut(id).filter(|entry| entry.pending_use == Some(*at)) {
                (entry.stored_use, entry.pending_use) = (Some(*at), None);
            }
        }
    }
}

impl Entry {
    /// Returns whether a stream or a request holds the key, besides the identity of the entry itself.
    fn is_held(&self) -> bool {
        self.key.holders() > 1
    }
}

fn entry(StoredKey { tenant, key: stored, hash }: StoredKey, asked: Instant) -> Option<Entry> {
    let tenant = TenantName::parse(&tenant).ok()?;
    let key = KeyInUse::new(&stored.id);
    let grant = if stored.permissions.is_empty() {
        let texts = |list: &[Selector]| list.iter().map(ToString::to_string).collect();
        let lists = BindingLists { read: texts(&stored.read), push: texts(&stored.push) };
        Grant::Channels(lists.parse().ok()?)
    } else {
        Grant::Permissions(Permissions::parse(stored.permissions.iter().map(String::as_str)))
    };
    let identity = Identity::of_key(tenant, &stored.name, key.clone(), grant, stored.expires);
    let (stored_use, pending_use) = (stored.used, None);
    Some(Entry { identity, key, hash, requested: Instant::now(), confirmed: asked, stored_use, pending_use })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use tricast_domain::keys::NewKey;

    const HASH: KeyHash = [7; 32];

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn stored(id: &str, expires_at: Option<Timestamp>) -> StoredKey {
        let new = NewKey { name: "ci".into(), push: vec!["metrics.ci.*".into()], expires_at, ..NewKey::default() };
        StoredKey { tenant: "acme".into(), key: new.build(id.into(), now()).unwrap(), hash: HASH }
    }

    fn with_keys(ids: &[&str]) -> Known {
        let mut known = Known::default();
        ids.iter().for_each(|id| known.add(stored(id, None), Instant::now()).unwrap());
        known
    }

    fn get(known: &mut Known, id: &str, at: Timestamp) -> Option<Result<Identity, TokenError>> {
        known.get(id, |hash| *hash == HASH, at)
    }

    #[test]
    fn a_key_is_found_with_its_secret_until_it_expires() {
        let mut known = Known::default();
        assert!(get(&mut known, "1", now()).is_none());
        known.add(stored("1", Some(now() + 1.hour())), Instant::now()).unwrap();
        let identity = get(&mut known, "1", now()).unwrap().unwrap();
        assert_eq!((identity.tenant.as_str(), &*identity.user), ("acme", "key:ci"));
        assert_eq!(known.get("1", |_| false, now()), Some(Err(TokenError::NoSuchKey)));
        assert_eq!(get(&mut known, "1", now() + 1.hour()), Some(Err(TokenError::Expired)));
        known.add_unknown("2");
        assert_eq!(get(&mut known, "2", now()), Some(Err(TokenError::NoSuchKey)));
    }

    #[test]
    fn the_streams_of_a_revoked_key_end_and_those_of_others_do_not() {
        let mut known = with_keys(&["1", "2"]);
        let [one, other] = ["1", "2"].map(|id| get(&mut known, id, now()).unwrap().unwrap());
        // A second look-up of the same key must not detach the streams that hold the first.
        known.add(stored("1", None), Instant::now()).unwrap();
        let existing = HashSet::from(["2".to_owned()]);
        let gone = known.confirm(vec!["1".into(), "2".into()], &existing, Instant::now());
        assert_eq!(gone, ["1"]);
        assert!(known.revoke("1") && !known.revoke("1"));
        assert!(one.is_revoked() && !other.is_revoked());
        assert!(get(&mut known, "1", now()).is_none(), "the store is asked");
    }

    #[test]
    fn keys_that_a_stream_holds_are_kept() {
        let mut known = with_keys(&["held", "idle"]);
        let held = get(&mut known, "held", now()).unwrap().unwrap();
        drop(get(&mut known, "idle", now()));
        let Some(long_ago) = Instant::now().checked_sub(IDLE) else { return };
        known.keys.values_mut().for_each(|entry| entry.requested = long_ago);
        assert_eq!(known.used().len(), 2, "their uses are not stored yet");
        let uses = known.pending_uses();
        known.uses_stored(&uses);
        assert_eq!(known.used(), ["held"]);
        (0..2 * MAX_KEYS).for_each(|id| known.add(stored(&id.to_string(), None), Instant::now()).unwrap());
        assert!(known.keys.len() <= MAX_KEYS && known.keys.contains_key("held"));
        assert!(known.revoke("held") && held.is_revoked());
        (0..2 * MAX_UNKNOWN).for_each(|id| known.add_unknown(&id.to_string()));
        assert!(known.unknown.len() <= MAX_UNKNOWN);
    }

    #[test]
    fn a_use_is_stored_once_an_hour_and_again_if_that_failed() {
        let mut known = with_keys(&["1"]);
        assert_eq!(known.pending_uses(), []);
        get(&mut known, "1", now()).unwrap().unwrap();
        get(&mut known, "1", now() + 59.minutes()).unwrap().unwrap();
        let uses = known.pending_uses();
        assert_eq!(uses, [("1".to_owned(), now())]);
        assert_eq!(known.pending_uses(), uses, "not stored yet");
        known.uses_stored(&uses);
        get(&mut known, "1", now() + 59.minutes()).unwrap().unwrap();
        assert_eq!(known.pending_uses(), []);
        get(&mut known, "1", now() + 60.minutes()).unwrap().unwrap();
        assert_eq!(known.pending_uses(), [("1".to_owned(), now() + 60.minutes())]);
    }

    #[test]
    fn keys_without_confirmation_are_found() {
        let mut known = with_keys(&["1", "2"]);
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(100)) else { return };
        known.keys.values_mut().for_each(|entry| entry.confirmed = long_ago);
        known.confirm(Vec::new(), &HashSet::from(["2".to_owned()]), Instant::now());
        assert_eq!(known.unconfirmed_for(Duration::from_secs(99)), ["1"]);
        assert!(known.unconfirmed_for(Duration::from_secs(200)).is_empty());
    }
}

//! Contract of [`KeyStore`](tricast_domain::keys::KeyStore): the behaviour that all stores share.

use jiff::{Timestamp, ToSpan};

use super::{SHOP, Stores, now};
use tricast_domain::keys::{Key, KeyError, NewKey, StoredKey};

const HASH: [u8; 32] = [7; 32];

fn key(id: &str, name: &str, expires_at: Option<Timestamp>) -> Key {
    let lists = (vec!["orders".into(), "metrics.a.*".into()], vec!["metrics.ci.*".into()]);
    NewKey { name: name.into(), read: lists.0, push: lists.1, permissions: vec![], expires_at }
        .build(id.into(), now())
        .unwrap()
}

pub(crate) async fn keys_are_created_found_and_deleted(stores: Stores) {
    let store = stores.keys;
    let admin = NewKey { name: "b".into(), permissions: vec!["admin".into()], ..NewKey::default() };
    let first = admin.build("1".into(), now()).unwrap();
    let second = key("2", "a", Some(now() + 1.hour()));
    store.insert(SHOP, first.clone(), HASH, 9).await.unwrap();
    store.insert(SHOP, second.clone(), [8; 32], 9).await.unwrap();
    assert_eq!(store.keys(SHOP).await.unwrap(), [second.clone(), first.clone()], "in the order of names");
    let found = StoredKey { tenant: SHOP.into(), key: first, hash: HASH };
    assert_eq!(store.find("1").await.unwrap(), Some(found));
    assert_eq!(store.find("3").await.unwrap(), None);
    let ids = ["3", "2", "1"].map(String::from).to_vec();
    let mut existing = store.existing(ids.clone()).await.unwrap();
    existing.sort_unstable();
    assert_eq!(existing, ["1", "2"]);
    assert_eq!(store.delete(SHOP, "1").await.unwrap(), "1");
    assert_eq!(store.delete(SHOP, "1").await, Err(KeyError::NotFound));
    assert_eq!(store.existing(ids).await.unwrap(), ["2"]);
    assert_eq!(store.delete(SHOP, "a").await.unwrap(), "2", "by its name");
    assert_eq!(store.find("2").await.unwrap(), None);
    assert_eq!(store.existing(Vec::new()).await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn keys_are_bounded_and_have_unique_names(stores: Stores) {
    let store = stores.keys;
    store.insert(SHOP, key("1", "a", None), HASH, 2).await.unwrap();
    assert_eq!(store.insert(SHOP, key("2", "a", None), HASH, 2).await, Err(KeyError::Taken("a".into())));
    let (one, other) = tokio::join!(
        store.insert(SHOP, key("2", "b", None), HASH, 2),
        store.insert(SHOP, key("3", "c", None), HASH, 2)
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(one.and(other), Err(KeyError::TooMany(2)));
    store.insert(SHOP, key("4", "d", None), HASH, 0).await.unwrap();
}

pub(crate) async fn expired_keys_make_room(stores: Stores) {
    let store = stores.keys;
    store.insert(SHOP, key("1", "a", Some(now() + 1.hour())), HASH, 1).await.unwrap();
    let later = Key { made: now() + 1.hour(), ..key("2", "a", None) };
    store.insert(SHOP, later.clone(), HASH, 1).await.unwrap();
    assert_eq!(store.keys(SHOP).await.unwrap(), [later]);
}

pub(crate) async fn only_a_later_use_is_stored(stores: Stores) {
    let store = stores.keys;
    store.insert(SHOP, key("1", "a", None), HASH, 9).await.unwrap();
    for (at, expected) in [(now() + 2.hour(), 2), (now() + 1.hour(), 2), (now() + 3.hour(), 3)] {
        store.note_uses(vec![("1".into(), at), ("unknown".into(), at)]).await.unwrap();
        assert_eq!(store.keys(SHOP).await.unwrap()[0].used, Some(now() + expected.hours()));
    }
    store.insert("other", key("2", "b", None), HASH, 9).await.unwrap();
    let both = ["2", "1"].map(|id| (id.to_owned(), now() + 4.hour())).to_vec();
    store.note_uses(both).await.unwrap();
    for tenant in [SHOP, "other"] {
        assert_eq!(store.keys(tenant).await.unwrap()[0].used, Some(now() + 4.hours()), "{tenant}");
    }
    store.note_uses(Vec::new()).await.unwrap();
}

pub(crate) async fn keys_of_tenants_are_their_own(stores: Stores) {
    let store = stores.keys;
    store.insert(SHOP, key("1", "a", None), HASH, 1).await.unwrap();
    store.insert("other", key("2", "a", None), HASH, 1).await.unwrap();
    assert_eq!(store.find("2").await.unwrap().unwrap().tenant, "other");
    for tenant in ["other", "none", "", "shop' OR '1'='1"] {
        assert_eq!(store.delete(tenant, "1").await, Err(KeyError::NotFound), "{tenant}");
    }
    assert_eq!(store.keys("none").await.unwrap(), []);
    assert_eq!(store.delete("other", "a").await.unwrap(), "2");
    assert_eq!(store.keys(SHOP).await.unwrap().len(), 1);
}

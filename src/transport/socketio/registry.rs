//! Sessions that are carried by requests, by ID: a request arrives at any worker and finds its session here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{link::Link, recovery::Recovery};

/// Sessions of this server by ID. Shared by all workers.
pub struct Registry {
    links: Mutex<HashMap<Arc<str>, Arc<Link>>>,
    pub(super) recovery: Arc<Recovery>,
}

impl Registry {
    /// Creates a registry without sessions; clients that were lost are recovered within `recovery`.
    pub fn new(recovery: Duration) -> Self {
        Self { links: Mutex::default(), recovery: Arc::new(Recovery::new(recovery)) }
    }

    pub(super) fn insert(&self, sid: Arc<str>, link: Arc<Link>) {
        self.links.lock().insert(sid, link);
    }

    pub(super) fn remove(&self, sid: &str) {
        self.links.lock().remove(sid);
    }

    pub(super) fn get(&self, sid: &str) -> Option<Arc<Link>> {
        self.links.lock().get(sid).cloned()
    }
}

//! Simulated node: its tasks can be paused, as by a signal or a frozen machine, and killed.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tricast_core::{
    aggregator::{AggregatorConfig, AggregatorHandle},
    clock::Clock,
    hub::Hub,
    log::{Log, LogConfig},
    settings::Size,
};
use tricast_domain::relay::{EventStore, Relay};

use super::{
    network::{NodeNetwork, World},
    outbox::Outbox,
};
use crate::{BusConfig, Cluster, ClusterConfig, config::Target, connection::Link, node};

/// Tenant of the simulation.
pub(super) const TENANT: &str = "default";

/// Age after which a stored event is overdue.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);

/// Pauses and ends the tasks of one process.
#[derive(Default)]
struct Gate {
    stopped: Cell<bool>,
    killed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Task of a process.
struct Gated<F> {
    task: Option<Pin<Box<F>>>,
    gate: Rc<Gate>,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.killed.get() {
            self.task = None;
            return Poll::Ready(());
        }
        let gate = Rc::clone(&self.gate);
        let mut waiting = gate.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        drop(waiting);
        if self.gate.stopped.get() {
            return Poll::Pending;
        }
        self.task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(cx))
    }
}

/// One process. Cheap to clone.
#[derive(Clone)]
pub(super) struct SimulatedNode {
    pub(super) cluster: Cluster,
    pub(super) log: Arc<Log>,
    pub(super) handle: AggregatorHandle,
    pub(super) hub: Rc<Hub>,
    pub(super) relay: Relay,
    pub(super) outbox: Outbox,
    gate: Rc<Gate>,
    _draining: Rc<watch::Sender<bool>>,
}

impl SimulatedNode {
    /// Starts the process with the number `index`, whose own clock is ahead by `skew`.
    pub(super) fn start(world: &Arc<World>, outbox: &Outbox, index: usize, skew: SignedDuration) -> Self {
        let config =
            BusConfig { url: "redis://simulated".into(), node: format!("n{index}"), cluster: ClusterConfig::default() };
        let of_world = Arc::clone(world);
        let own_clock = Clock::from_fn(move || {
            let micros = i64::try_from(of_world.now()).unwrap_or(i64::MAX);
            Timestamp::from_microsecond(micros).unwrap_or_default().saturating_add(skew).unwrap_or_default()
        });
        let push_timeout = config.cluster.push_timeout.0;
        let link = Link::new(Target::Simulated(NodeNetwork::new(world, index)));
        let log = LogConfig { events: 100_000, bytes: Size::mebibytes(64), ..LogConfig::default() };
        let clock = own_clock.settable();
        let node = node::Node::new(config, link, own_clock, clock, log, AggregatorConfig::default());
        let (cluster, tasks) = Cluster::of(Arc::new(node), push_timeout);
        let (log, handle) = cluster.join(TENANT);
        let hub = Hub::new(Arc::clone(&log));
        let store: Arc<dyn EventStore> = Arc::new(outbox.clone());
        let (relay, publishing) = Relay::new(TENANT, Arc::clone(&store), handle.clone(), 0);
        let (draining, drain) = watch::channel(false);
        let process = Self {
            cluster,
            log,
            handle,
            hub: Rc::clone(&hub),
            relay: relay.clone(),
            outbox: outbox.clone(),
            gate: Rc::default(),
            _draining: Rc::new(draining),
        };
        tasks.into_iter().for_each(|task| process.spawn(task));
        process.spawn(hub.run(drain));
        process.spawn(publishing.run());
        let leads = process.cluster.leads();
        process.spawn(async move {
            loop {
                let leads = *leads.borrow();
                if leads && store.overdue(OVERDUE_AFTER).await.is_ok_and(|tenants| !tenants.is_empty()) {
                    relay.overdue();
                }
                tokio::time::sleep(OVERDUE_AFTER).await;
            }
        });
        process
    }

    /// Runs `task` as a part of this process.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(Gated { task: Some(Box::pin(task)), gate: Rc::clone(&self.gate) });
    }

    /// Pauses or resumes all tasks.
    pub(super) fn stop(&self, stopped: bool) {
        self.gate.stopped.set(stopped);
        self.gate.open();
    }

    /// Stops the node at once, as SIGKILL does: drops all its tasks.
    pub(super) fn kill(&self) {
        self.gate.killed.set(true);
        self.gate.open();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.gate.killed.get()
    }
}

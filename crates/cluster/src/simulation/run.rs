//! One run: nodes, clients and faults, and then a time in which everything has to recover.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, sleep_until, timeout},
};
use tricast_core::{channel::Channel, log::ChannelTimes, snapshot::View};

use super::{
    client,
    fault::{self, Fault, Planned},
    network::{Path, World},
    node::SimulatedNode,
    outbox::Outbox,
    reader::Client,
    rules::{Record, Values, Verdict},
};

const NODES: usize = 3;
const PUSHERS: usize = 3;
const READERS: usize = 4;

/// Time until clients start to write.
const START: Duration = Duration::from_secs(6);

/// Time without faults at the end.
const SETTLING: Duration = Duration::from_secs(40);

/// Longest time for which nodes with good paths accept no push while only the paths of other nodes to Redis are bad.
const LONGEST_OUTAGE: Duration = Duration::from_secs(20);

/// Interval of the pushes that measure it.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Longest time that a client waits for a reply or a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// Result of a run.
pub(super) struct Outcome {
    pub(super) violation: Option<String>,
    pub(super) faults: Vec<Planned>,
    /// Digest that differs between different runs.
    pub(super) digest: u64,
}

type Nodes = Rc<RefCell<Vec<SimulatedNode>>>;

/// Executes the run of `seed`.
pub(super) fn run(seed: u64) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    let local = LocalSet::new();
    local.block_on(&runtime, simulate(seed))
}

async fn simulate(seed: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new(random.u64(..), NODES);
    let outbox = Outbox::new(&world);
    let faults = fault::plan(&mut random, NODES);
    let skews: Vec<_> = (0..NODES).map(|_| SignedDuration::from_millis(random.i64(-3_000..3_000))).collect();
    let start = |index: usize| SimulatedNode::start(&world, &outbox, index, skews[index]);
    let nodes: Nodes = Rc::new(RefCell::new((0..NODES).map(start).collect()));
    let known = Known::default();
    let accepted = Rc::<RefCell<Vec<Instant>>>::default();
    // At least one path stays good.
    let only_paths = faults.iter().all(|planned| planned.fault.is_of_one_path()) && faults.len() < NODES;
    let clients: Vec<Rc<RefCell<Client>>> = (0..READERS).map(|_| Rc::default()).collect();

    let over = faults.iter().map(|planned| planned.at + planned.lasts).max().unwrap_or_default().max(START);
    let stop_writing = Instant::now() + over + SETTLING / 2;
    for client in &clients {
        spawn_local(read(Rc::clone(client), Rc::clone(&nodes), random.fork()));
    }
    let writers: Vec<_> = (0..PUSHERS)
        .map(|pusher| spawn_local(write(pusher, Rc::clone(&nodes), known.clone(), random.fork(), stop_writing)))
        .collect();
    if only_paths {
        let accepted = Rc::clone(&accepted);
        spawn_local(probe(Arc::clone(&world), Rc::clone(&nodes), known.clone(), accepted, random.fork(), stop_writing));
    }
    let start = Instant::now();
    let written_once = Rc::new(Cell::new(false));
    let (node, is_written) = (nodes.borrow()[0].clone(), Rc::clone(&written_once));
    spawn_local(async move {
        sleep(START / 2).await;
        is_written.set(client::push_once(&node).await);
    });
    let driver: Vec<_> = faults
        .iter()
        .map(|planned| {
            spawn_local(strike(*planned, start, Arc::clone(&world), Rc::clone(&nodes), outbox.clone(), skews.clone()))
        })
        .collect();
    for task in driver.into_iter().chain(writers) {
        drop(task.await);
    }
    let leads: Vec<_> = nodes.borrow().iter().map(|node| node.cluster.leads()).collect();
    sleep(SETTLING / 2).await;
    let is_unsettled = leads.iter().any(|leads| leads.has_changed().unwrap_or(true));

    let loses_data = faults.iter().any(|planned| planned.fault.loses_data());
    let kills = faults.iter().any(|planned| planned.fault.kills());
    let record = Record {
        pushes: known.pushes.take(),
        orders: known.orders.take(),
        logs: nodes.borrow().iter().map(events).collect(),
        values: nodes.borrow().iter().map(values).collect(),
        // A node that starts again knows what Redis has.
        keeps_values: written_once.take() && !(loses_data && kills),
        times: nodes.borrow().iter().map(times).collect(),
        ends: nodes.borrow().iter().map(ends).collect(),
        clients: clients.iter().map(|client| client.borrow().received.clone()).collect(),
        lost_data: loses_data,
        lost_memory: loses_data && kills,
        lost_unnoticed: faults.iter().any(|planned| matches!(planned.fault, Fault::RestartsAll { .. })),
    };
    let mut digest = DefaultHasher::new();
    format!("{:?} {:?} {:?}", record.pushes, record.orders, record.logs).hash(&mut digest);
    let late = record.pushes.iter().rev().take(PUSHERS).any(|(_, _, verdict)| *verdict != Verdict::Accepted);
    let accepted = accepted.take();
    let outage = accepted.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let violation = record
        .violation()
        .or_else(|| late.then(|| "a push after all faults was not accepted".into()))
        .or_else(|| is_unsettled.then(|| "the leader changed after all faults".into()))
        .or_else(|| (outage > LONGEST_OUTAGE).then(|| format!("no push was accepted for {outage:?}")));
    nodes.borrow().iter().for_each(SimulatedNode::kill);
    Outcome { violation, faults, digest: digest.finish() }
}

/// Returns the values of the state channels that `node` has.
fn values(node: &SimulatedNode) -> Values {
    let value = |name: &str| {
        let state = node.log.state(&Channel::parse(name).ok()?, View::Full)?;
        serde_json::from_slice::<serde_json::Value>(&state.data).ok()?["value"].as_u64()
    };
    Values { newest: value("metrics.load"), once: value(client::ONCE) }
}

/// Returns the IDs of all events on `node`.
pub(super) fn events(node: &SimulatedNode) -> Vec<u64> {
    let log = &node.log;
    let events = log.events_after(log.dropped(), log.head(), usize::MAX, |_, _| true);
    let id = |data: &[u8]| serde_json::from_slice::<serde_json::Value>(data).ok()?["id"].as_u64();
    events.events.iter().filter_map(|event| id(&event.data)).collect()
}

/// Returns when the pushed values of `node` were written.
fn times(node: &SimulatedNode) -> HashMap<Channel, ChannelTimes> {
    let states = node.log.export().states.into_iter();
    states.filter_map(|state| Some((state.change.channel, state.times?))).collect()
}

/// Returns the ends of channels that `node` has, and whether the channel with a time to live has a value there.
fn ends(node: &SimulatedNode) -> (HashMap<Channel, u64>, bool) {
    let states = node.log.export().states.into_iter();
    let ends = states.filter(|state| state.change.gone.is_some()).map(|state| (state.change.channel, state.offset));
    let is_alive = Channel::parse(client::BRIEF).is_ok_and(|brief| node.log.kind(&brief).is_some());
    (ends.collect(), is_alive)
}

/// Returns any living process; a client does not see whether it is paused.
fn any(nodes: &Nodes, random: &mut fastrand::Rng) -> Option<SimulatedNode> {
    let nodes = nodes.borrow();
    let living: Vec<_> = nodes.iter().filter(|node| !node.is_killed()).collect();
    (!living.is_empty()).then(|| living[random.usize(..living.len())].clone())
}

async fn read(client: Rc<RefCell<Client>>, nodes: Nodes, mut random: fastrand::Rng) {
    // A node that has not read the log yet is not ready, and gets no clients.
    sleep(START / 2).await;
    loop {
        if let Some(node) = any(&nodes, &mut random) {
            client.borrow_mut().connect(&node);
            let stays = Instant::now() + Duration::from_millis(random.u64(200..8_000));
            while Instant::now() < stays && !node.is_killed() && !client.borrow().is_closed() {
                sleep(Duration::from_millis(random.u64(10..200))).await;
                let most = random.usize(..20);
                client.borrow_mut().take(most);
            }
            let most = random.usize(..5);
            client.borrow_mut().leave(most);
        }
        sleep(Duration::from_millis(random.u64(1..200))).await;
    }
}

/// State of the writing clients.
#[derive(Clone, Default)]
struct Known {
    pushes: Rc<RefCell<Vec<(u64, usize, Verdict)>>>,
    orders: Rc<RefCell<Vec<u64>>>,
}

async fn write(pusher: usize, nodes: Nodes, known: Known, mut random: fastrand::Rng, until: Instant) {
    sleep(START).await;
    let mut id = (pusher as u64 + 1) * 1_000_000;
    let mut node = None;
    while Instant::now() < until {
        sleep(Duration::from_millis(random.u64(20..600))).await;
        if node.as_ref().is_none_or(SimulatedNode::is_killed) || random.u8(..10) == 0 {
            node = any(&nodes, &mut random);
        }
        let Some(at) = node.clone() else { continue };
        id += 1;
        if random.u8(..3) == 0 {
            drop(timeout(PATIENCE, client::order(&at, id, &known.orders)).await);
        } else {
            let verdict = timeout(PATIENCE, client::push(&at, id)).await.unwrap_or(Verdict::Unknown);
            tracing::debug!(pusher, id, ?verdict, "a push");
            known.pushes.borrow_mut().push((id, pusher, verdict));
            if verdict != Verdict::Accepted {
                node = None; // as behind a proxy, which tries another one
            }
        }
    }
}

/// Pushes to nodes with good paths, one after the other without waiting for the replies, and notes when one is accepted: the other
/// writers may all wait at nodes with bad paths.
async fn probe(
    world: Arc<World>,
    nodes: Nodes,
    known: Known,
    accepted: Rc<RefCell<Vec<Instant>>>,
    mut random: fastrand::Rng,
    until: Instant,
) {
    sleep(START).await;
    // Replies may come in any order, as those to different clients.
    for pusher in PUSHERS.. {
        if Instant::now() >= until {
            break;
        }
        let good: Vec<_> = (0..NODES).filter(|node| world.path(*node) == Path::Good).collect();
        let at = nodes.borrow()[good[random.usize(..good.len())]].clone();
        let (known, accepted) = (known.clone(), Rc::clone(&accepted));
        spawn_local(async move {
            let id = (PUSHERS as u64 + 1) * 1_000_000 + pusher as u64;
            let verdict = timeout(PATIENCE, client::push(&at, id)).await.unwrap_or(Verdict::Unknown);
            known.pushes.borrow_mut().push((id, pusher, verdict));
            if verdict == Verdict::Accepted {
                accepted.borrow_mut().push(Instant::now());
            }
        });
        sleep(PROBE_EVERY).await;
    }
}

fn leader(nodes: &Nodes) -> Option<usize> {
    nodes.borrow().iter().position(|node| !node.is_killed() && *node.cluster.leads().borrow())
}

/// Causes a fault and ends it.
async fn strike(
    planned: Planned,
    start: Instant,
    world: Arc<World>,
    nodes: Nodes,
    outbox: Outbox,
    skews: Vec<SignedDuration>,
) {
    let Planned { at, lasts, fault } = planned;
    sleep_until(start + at).await;
    tracing::info!(?at, ?lasts, ?fault, "a fault begins");
    let of_leader = leader(&nodes).unwrap_or(0);
    match fault {
        Fault::Kill { .. } | Fault::KillLeader => {
            let index = if let Fault::Kill { node } = fault { node } else { of_leader };
            nodes.borrow()[index].kill();
            sleep(lasts).await;
            if nodes.borrow()[index].is_killed() {
                nodes.borrow_mut()[index] = SimulatedNode::start(&world, &outbox, index, skews[index]);
            }
        }
        Fault::Stop { .. } | Fault::StopLeader => {
            let index = if let Fault::Stop { node } = fault { node } else { of_leader };
            let node = nodes.borrow()[index].clone();
            node.stop(true);
            sleep(lasts).await;
            node.stop(false);
        }
        Fault::Path { .. } | Fault::LeaderPath { .. } => {
            let (index, path) = match fault {
                Fault::Path { node, path } => (node, path),
                Fault::LeaderPath { path } => (of_leader, path),
                _ => return,
            };
            world.set_path(index, path);
            sleep(lasts).await;
            world.set_path(index, Path::Good);
        }
        Fault::Down => {
            world.set_up(false);
            sleep(lasts).await;
            world.set_up(true);
        }
        Fault::Refuses { why } => {
            world.set_refusal(Some(why));
            sleep(lasts).await;
            world.set_refusal(None);
        }
        Fault::LosesTail { age } => {
            world.set_up(false);
            world.lose_since(age);
            sleep(lasts / 4).await;
            world.set_up(true);
        }
        Fault::RestartsAll { age } => {
            nodes.borrow().iter().for_each(SimulatedNode::kill);
            world.set_up(false);
            world.lose_since(age);
            sleep(lasts / 4).await;
            world.set_up(true);
            for (index, node) in nodes.borrow_mut().iter_mut().enumerate().filter(|(_, node)| node.is_killed()) {
                *node = SimulatedNode::start(&world, &outbox, index, skews[index]);
            }
        }
        Fault::Flush => world.flush(),
    }
}

//! Turns of work that may wait, so that many of its kind do not delay everything else on a worker.
//!
//! When an update is published, hundreds of held polls of Socket.IO clients are due on a worker at once, and the client of
//! each sends the next one right away. Each is a request with its guards, and a worker takes what is ready in order of
//! arrival, so that any other request would wait behind all of them. Such work asks for a [`Turn`]: a few get theirs, then
//! the worker looks for new input and runs everything else that is ready, then the next few follow, in order.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Turns between two looks for new input: about a quarter of a millisecond of work.
const AT_ONCE: usize = 8;

thread_local! {
    static QUEUE: Queue = const { Queue { taken: Cell::new(0), waiting: RefCell::new(VecDeque::new()) } };
}

/// Queue of a worker.
struct Queue {
    /// Turns since the last look for new input.
    taken: Cell<usize>,
    /// Tasks that wait, each with its place.
    waiting: RefCell<VecDeque<(Waker, Rc<Cell<bool>>)>>,
}

/// Turn of one task, which it takes again and again.
#[derive(Default)]
pub struct Turn {
    /// Place in the queue while the task waits: whether its turn has come.
    place: Option<Rc<Cell<bool>>>,
}

impl Turn {
    /// Takes a turn. `Pending` if too many others were taken just now; then the task is woken for its own.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(place) = &self.place {
            if !place.get() {
                return Poll::Pending;
            }
            self.place = None;
            return Poll::Ready(());
        }
        QUEUE.with(|queue| {
            let taken = queue.taken.get();
            if taken == 0 {
                actix_web::rt::spawn(serve());
            }
            if taken < AT_ONCE {
                queue.taken.set(taken + 1);
                return Poll::Ready(());
            }
            let place = Rc::new(Cell::new(false));
            queue.waiting.borrow_mut().push_back((cx.waker().clone(), Rc::clone(&place)));
            self.place = Some(place);
            Poll::Pending
        })
    }
}

/// Wakes those who wait, a few between two looks for new input, until none is left.
async fn serve() {
    loop {
        // The worker runs what is ready, and looks for new input, before it continues here.
        tokio::task::yield_now().await;
        if QUEUE.with(Queue::next) == 0 {
            return;
        }
    }
}

impl Queue {
    /// Gives the next tasks their turns; returns their number.
    fn next(&self) -> usize {
        let mut taken = 0;
        while taken < AT_ONCE
            && let Some((waker, place)) = self.waiting.borrow_mut().pop_front()
        {
            // A task that has ended does not need its turn.
            if Rc::strong_count(&place) > 1 {
                taken += 1;
                place.set(true);
                waker.wake();
            }
        }
        self.taken.set(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Takes a turn, then counts it.
    async fn take(counted: Rc<Cell<usize>>) {
        let mut turn = Turn::default();
        poll_fn(|cx| turn.poll(cx)).await;
        counted.set(counted.get() + 1);
    }

    #[tokio::test]
    async fn other_tasks_run_between_a_few_turns() {
        const TASKS: usize = 10 * AT_ONCE;
        let local = LocalSet::new();
        let counted = Rc::<Cell<usize>>::default();
        local
            .run_until(async {
                let mut before = 0;
                for _ in 0..TASKS {
                    spawn_local(take(Rc::clone(&counted)));
                }
                while before < TASKS {
                    yield_now().await;
                    let taken = counted.get() - before;
                    assert!(taken <= AT_ONCE, "{taken} turns at once");
                    before += taken;
                }
            })
            .await;
    }

    #[tokio::test]
    async fn the_place_of_a_task_that_has_ended_is_left_out() {
        LocalSet::new()
            .run_until(async {
                let counted = Rc::<Cell<usize>>::default();
                let tasks: Vec<_> = (0..3 * AT_ONCE).map(|_| spawn_local(take(Rc::clone(&counted)))).collect();
                yield_now().await;
                tasks[AT_ONCE..2 * AT_ONCE].iter().for_each(tokio::task::JoinHandle::abort);
                while counted.get() < 2 * AT_ONCE {
                    yield_now().await;
                }
                assert!(QUEUE.with(|queue| queue.waiting.borrow().is_empty()));
            })
            .await;
    }
}

//! A priority level: its seats, and those who wait for them.
//!
//! As long as nobody waits, taking and giving back seats is one atomic operation each. Who finds none takes the lock; from
//! then on those who leave look after those who wait.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::debug::{Asked, LevelDigest};
use super::dropped::Dropped;
use super::queues::{Queues, Shape, Ticket};

/// Whose turn it is is told by this.
type Call = oneshot::Sender<()>;

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// All are taken, and nobody may wait.
    ConcurrencyLimit,
    /// The queue is full.
    QueueFull,
    /// It took too long.
    TimeOut,
}

/// One level. The exempt one has seats for all.
#[derive(Debug)]
pub(crate) struct Level {
    pub name: String,
    pub is_exempt: bool,
    /// Requests that wait in the upper half, seats in use in the lower.
    state: AtomicU64,
    limit: AtomicU32,
    /// Whether there are queues.
    queues_some: AtomicU32,
    /// The most seats that were wanted at once since somebody asked.
    peak: AtomicU32,
    waiting_seats: AtomicU32,
    /// Seats that one request may take; 0 when the level does not say.
    pub seats_max: AtomicU32,
    /// Seats that requests have beyond their first one.
    more_seats: AtomicU32,
    /// Requests that went away while they waited.
    pub cancelled: AtomicU64,
    queues: Mutex<Queues<Call>>,
    pub dropped: Dropped,
}

/// One who waits, in `state`.
const WAITING_ONE: u64 = 1 << 32;

fn waiting(state: u64) -> u32 {
    u32::try_from(state >> 32).unwrap_or(u32::MAX)
}

fn in_use(state: u64) -> u32 {
    u32::try_from(state & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// Seats that a request has.
#[derive(Debug)]
pub(super) struct Seat {
    seats: u32,
    /// Of one who waited: where, and since when it has it.
    waited: Option<(Ticket, Instant)>,
}

impl Level {
    pub(super) fn new(name: &str, is_exempt: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            is_exempt,
            state: AtomicU64::new(0),
            limit: AtomicU32::new(0),
            queues_some: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            waiting_seats: AtomicU32::new(0),
            seats_max: AtomicU32::new(0),
            more_seats: AtomicU32::new(0),
            cancelled: AtomicU64::new(0),
            queues: Mutex::new(Queues::new(Shape::default())),
            dropped: Dropped::default(),
        })
    }

    /// Queues as the configuration has them. Those that are too many empty by and by.
    pub(super) fn shape(&self, shape: Shape) {
        let mut queues = self.lock();
        queues.shape = shape;
        self.queues_some.store(u32::from(shape.queues > 0), Ordering::Relaxed);
    }

    /// From now on so many seats may be taken.
    pub(super) fn set_limit(&self, limit: u32) {
        let mut queues = self.lock();
        queues.advance(Instant::now(), self.limit());
        self.limit.store(limit, Ordering::Relaxed);
        self.dispatch(&mut queues);
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Seats in use, and requests that wait.
    pub(super) fn load(&self) -> (u32, u32) {
        let state = self.state.load(Ordering::Relaxed);
        (in_use(state), waiting(state))
    }

    /// Requests that have seats.
    pub(super) fn executing(&self) -> u32 {
        self.load().0.saturating_sub(self.more_seats.load(Ordering::Relaxed))
    }

    /// What there is to show.
    pub(super) fn digest(&self) -> LevelDigest {
        let queues = self.lock();
        let asked = queues.asked.values().cloned().collect();
        LevelDigest { queue_count: queues.shape.queues, queues: queues.digest(), asked }
    }

    /// One request is counted as one, however many seats it has.
    fn count_more(&self, seats: u32, taken: bool) {
        match (seats, taken) {
            (0 | 1, _) => {}
            (seats, true) => drop(self.more_seats.fetch_add(seats - 1, Ordering::Relaxed)),
            (seats, false) => drop(self.more_seats.fetch_sub(seats - 1, Ordering::Relaxed)),
        }
    }

    /// Seats that are wanted: those in use and those waited for.
    pub(super) fn demand(&self) -> u32 {
        self.load().0.saturating_add(self.waiting_seats.load(Ordering::Relaxed))
    }

    /// The most that was wanted at once since the last call.
    pub(super) fn take_peak(&self) -> u32 {
        self.peak.swap(self.demand(), Ordering::Relaxed)
    }

    fn note_peak(&self, demand: u32) {
        if demand > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(demand, Ordering::Relaxed);
        }
    }

    /// A seat at once, when nobody waits and enough are free.
    pub(super) fn try_take(&self, seats: u32) -> Option<Seat> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if !self.is_exempt && (waiting(state) > 0 || !self.fits(in_use(state), seats)) {
                return None;
            }
            let taken = state + u64::from(seats);
            match self.state.compare_exchange_weak(state, taken, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    self.note_peak(in_use(taken));
                    self.count_more(seats, true);
                    return Some(Seat { seats, waited: None });
                }
                Err(now) => state = now,
            }
        }
    }

    /// Whether seats are free. One request that wants more than there are goes alone; of a level with queues and without
    /// any seat nobody goes at all.
    fn fits(&self, in_use: u32, seats: u32) -> bool {
        let limit = self.limit();
        if seats <= limit {
            return in_use.saturating_add(seats) <= limit;
        }
        in_use == 0 && (limit > 0 || self.queues_some.load(Ordering::Relaxed) == 0)
    }

    /// A seat as soon as it is this request's turn.
    pub(super) async fn take(
        self: &Arc<Self>,
        flow: u64,
        seats: u32,
        wait_max: Duration,
        asked: Asked,
    ) -> Result<Seat, NoSeat> {
        let mut waiter = self.wait(flow, seats, asked)?;
        let called = tokio::time::timeout(wait_max, Pin::new(&mut waiter.called)).await;
        match called {
            Ok(Ok(())) => Ok(waiter.sit()),
            // It may have been called right now.
            _ if !waiter.leave() => Ok(waiter.sit()),
            _ => Err(NoSeat::TimeOut),
        }
    }

    fn wait(self: &Arc<Self>, flow: u64, seats: u32, mut asked: Asked) -> Result<Waiter, NoSeat> {
        let mut queues = self.lock();
        if queues.shape.queues == 0 {
            self.note_peak(self.demand().saturating_add(seats));
            return Err(NoSeat::ConcurrencyLimit);
        }
        queues.advance(Instant::now(), self.limit());
        let (call, called) = oneshot::channel();
        let ticket = queues.enqueue(flow, seats, call).map_err(|_| NoSeat::QueueFull)?;
        (asked.queue, asked.seats) = (ticket.queue, seats);
        queues.asked.insert(ticket.id, asked);
        self.state.fetch_add(WAITING_ONE, Ordering::AcqRel);
        self.waiting_seats.store(queues.waiting_seats(), Ordering::Relaxed);
        self.note_peak(self.demand());
        // Seats may have become free before anybody could know of this one.
        self.dispatch(&mut queues);
        drop(queues);
        Ok(Waiter { level: self.clone(), ticket, seats, called, is_settled: false })
    }

    /// Gives free seats to those whose turn it is.
    fn dispatch(&self, queues: &mut Queues<Call>) {
        while waiting(self.state.load(Ordering::Acquire)) > 0 {
            let now_in_use = in_use(self.state.load(Ordering::Acquire));
            let Some(next) = queues.next(|seats| self.fits(now_in_use, seats)) else { break };
            // One who does not listen any more leaves on its own, and gives its seats back then.
            let _ = next.token.send(());
            self.state.fetch_sub(WAITING_ONE - u64::from(next.seats), Ordering::AcqRel);
            self.count_more(next.seats, true);
            if let Some(asked) = queues.asked.get_mut(&next.id) {
                asked.started = Some(seams::clock::now());
            }
        }
        self.waiting_seats.store(queues.waiting_seats(), Ordering::Relaxed);
    }

    /// Gives seats back.
    pub(super) fn give_back(&self, seat: &Seat) {
        self.count_more(seat.seats, false);
        if let Some((ticket, since)) = seat.waited {
            let mut queues = self.lock();
            let now = Instant::now();
            queues.advance(now, self.limit());
            queues.asked.remove(&ticket.id);
            queues.finish(ticket.queue, seat.seats, now.saturating_duration_since(since));
            self.state.fetch_sub(u64::from(seat.seats), Ordering::AcqRel);
            return self.dispatch(&mut queues);
        }
        let before = self.state.fetch_sub(u64::from(seat.seats), Ordering::AcqRel);
        if waiting(before) > 0 {
            let mut queues = self.lock();
            queues.advance(Instant::now(), self.limit());
            self.dispatch(&mut queues);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues<Call>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits. Leaves its queue, or gives back what it was just given, when it is dropped.
struct Waiter {
    level: Arc<Level>,
    ticket: Ticket,
    seats: u32,
    called: oneshot::Receiver<()>,
    is_settled: bool,
}

impl Waiter {
    /// Takes the seats that it was given.
    fn sit(mut self) -> Seat {
        self.is_settled = true;
        Seat { seats: self.seats, waited: Some((self.ticket, Instant::now())) }
    }

    /// Leaves the queue; false when it has been called already.
    fn leave(&mut self) -> bool {
        let mut queues = self.level.lock();
        queues.advance(Instant::now(), self.level.limit());
        let left = queues.leave(self.ticket);
        if left {
            queues.asked.remove(&self.ticket.id);
            self.is_settled = true;
            self.level.state.fetch_sub(WAITING_ONE, Ordering::AcqRel);
            // The next one may be narrower.
            self.level.dispatch(&mut queues);
        }
        left
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.level.cancelled.fetch_add(1, Ordering::Relaxed);
        if !self.leave() {
            let seat = Seat { seats: self.seats, waited: Some((self.ticket, Instant::now())) };
            self.level.give_back(&seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const WAIT: Duration = Duration::from_secs(15);

    fn level(limit: u32, shape: Shape) -> Arc<Level> {
        let level = Level::new("l", false);
        level.shape(shape);
        level.set_limit(limit);
        level
    }

    const ONE_QUEUE: Shape = Shape { queues: 1, hand: 1, length_max: 2 };

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_seat_waits_and_gets_the_next_one() {
        let level = level(2, ONE_QUEUE);
        let (first, _second) = (level.try_take(1).unwrap(), level.try_take(1).unwrap());
        assert!(level.try_take(1).is_none());
        let mut third = Box::pin(level.take(7, 1, WAIT, Asked::default()));
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!((level.load(), level.demand()), ((2, 1), 3));
        level.give_back(&first);
        // What is free is the third one's, not the next one's who comes.
        assert!(level.try_take(1).is_none());
        let third = third.await.unwrap();
        assert_eq!(level.load(), (2, 0));
        level.give_back(&third);
        assert_eq!((level.load(), level.take_peak(), level.take_peak()), ((1, 0), 3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn full_queues_long_waits_and_levels_without_queues_turn_away() {
        let level = level(1, ONE_QUEUE);
        let seat = level.try_take(1).unwrap();
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(level.take(7, 1, WAIT, Asked::default()))).collect();
        assert!(waiting.iter_mut().all(|w| w.as_mut().now_or_never().is_none()));
        assert_eq!(level.take(7, 1, WAIT, Asked::default()).await.unwrap_err(), NoSeat::QueueFull);
        let started = Instant::now();
        assert_eq!(waiting.remove(0).await.unwrap_err(), NoSeat::TimeOut);
        assert_eq!(started.elapsed(), WAIT);
        // One who goes away leaves its place to the next.
        drop(waiting);
        assert_eq!((level.load(), level.demand()), ((1, 0), 1));
        level.give_back(&seat);
        level.shape(Shape::default());
        let _seat = level.try_take(1).unwrap();
        assert_eq!(level.take(7, 1, WAIT, Asked::default()).await.unwrap_err(), NoSeat::ConcurrencyLimit);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_goes_away_when_it_was_just_called_gives_its_seat_back() {
        let level = level(1, ONE_QUEUE);
        let seat = level.try_take(1).unwrap();
        let mut waiting = Box::pin(level.take(7, 1, WAIT, Asked::default()));
        assert!(waiting.as_mut().now_or_never().is_none());
        level.give_back(&seat);
        assert_eq!(level.load(), (1, 0));
        drop(waiting);
        assert_eq!(level.load(), (0, 0));
        assert!(level.try_take(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn wide_requests_go_alone_and_a_level_without_seats_is_a_jail() {
        let level = level(2, ONE_QUEUE);
        let wide = level.try_take(5).unwrap();
        assert!(level.try_take(1).is_none());
        level.give_back(&wide);
        level.set_limit(0);
        assert_eq!(level.take(7, 1, WAIT, Asked::default()).await.unwrap_err(), NoSeat::TimeOut);
        let mut waiting = Box::pin(level.take(7, 1, WAIT, Asked::default()));
        assert!(waiting.as_mut().now_or_never().is_none());
        level.set_limit(1);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_noisy_flow_does_not_starve_a_quiet_one() {
        let level = level(4, Shape { queues: 64, hand: 4, length_max: 50 });
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let mut ask = |flow: u64, count: usize| {
            for _ in 0..count {
                let (level, served) = (level.clone(), served.clone());
                tasks.spawn(async move {
                    let seat = match level.try_take(1) {
                        Some(seat) => Ok(seat),
                        None => level.take(flow, 1, WAIT, Asked::default()).await,
                    };
                    let Ok(seat) = seat else { return served.lock().unwrap().push((flow, None)) };
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    served.lock().unwrap().push((flow, Some(Instant::now())));
                    level.give_back(&seat);
                });
            }
        };
        let started = Instant::now();
        ask(0x1234_5678_9abc_def0, 150);
        ask(0x0fed_cba9_8765_4321, 10);
        tasks.join_all().await;
        let served = served.lock().unwrap();
        let last = |flow: u64| served.iter().filter(|s| s.0 == flow).map(|s| s.1.expect("all have room")).max();
        let quiet = last(0x0fed_cba9_8765_4321).unwrap() - started;
        let noisy = last(0x1234_5678_9abc_def0).unwrap() - started;
        // Alone the noisy one takes 375 ms; the quiet one is done as if it had a fair part of the seats.
        assert!(quiet <= Duration::from_millis(150), "{quiet:?}");
        assert!(noisy >= Duration::from_millis(390), "{noisy:?}");
        assert_eq!(level.load(), (0, 0));
    }

    /// Threads that take, wait, give up and give back all at once lose no seat and forget nobody.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nothing_is_lost_between_threads() {
        let level = level(3, Shape { queues: 8, hand: 2, length_max: 1_000 });
        let tasks = (0..8_u64).map(|task| {
            let level = level.clone();
            tokio::spawn(async move {
                let mut seated = 0;
                for round in 0..2_000_u64 {
                    let seats = u32::try_from(1 + (task + round) % 2).unwrap();
                    let seat = match level.try_take(seats) {
                        Some(seat) => seat,
                        // Some give up, at any moment.
                        None if round % 5 == 0 => {
                            let patience = Duration::from_micros(seams::random::below(200));
                            match tokio::time::timeout(patience, level.take(task, seats, WAIT, Asked::default())).await
                            {
                                Ok(seat) => seat.unwrap(),
                                Err(_) => continue,
                            }
                        }
                        None => level.take(task, seats, WAIT, Asked::default()).await.unwrap(),
                    };
                    seated += 1;
                    assert!(level.load().0 <= 3);
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    level.give_back(&seat);
                }
                seated
            })
        });
        let seated: u64 = futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
        assert!(seated >= 8 * 1_600, "{seated}");
        assert_eq!((level.load(), level.demand()), ((0, 0), 0));
        assert!(level.try_take(3).is_some());
    }
}

//! Queues of waiting requests and whose turn it is: fair queuing of KEP-1040, without clocks and waking.
//!
//! Virtual time moves as fast as each queue that has something to do is entitled to be served. A queue's next request
//! starts, in virtual time, when the ones before it are done; the queue whose next request would be done first is served.
//! Only queues that have something to do exist, so that a level with millions of queues costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::debug::{Asked, QueueDigest};

/// How long a request is assumed to take until it is known, in seconds.
const SERVICE_SECONDS: f64 = 0.003;

/// How a level queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// How many queues there are; none means that nobody waits.
    pub queues: u32,
    /// How many of them one flow may use.
    pub hand: u32,
    /// How many requests one holds.
    pub length_max: usize,
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub queue: u32,
    pub id: u64,
}

/// A request whose turn it is.
#[derive(Debug)]
pub(super) struct Next<T> {
    pub id: u64,
    pub seats: u32,
    pub token: T,
}

#[derive(Debug)]
struct Waiter<T> {
    id: u64,
    seats: u32,
    /// In virtual time.
    arrival: f64,
    token: T,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiter<T>>,
    waiting_seats: u32,
    executing: u32,
    executing_seats: u32,
    /// When its next request starts, in virtual time.
    start: f64,
}

impl<T> Queue<T> {
    /// No request is served before it came, in virtual time either: a queue saves nothing up while it could have more.
    fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.start = self.start.max(oldest.arrival);
        }
    }

    fn seats(&self) -> u32 {
        self.waiting_seats + self.executing_seats
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
}

/// All queues of a level.
#[derive(Debug)]
pub(super) struct Queues<T> {
    pub shape: Shape,
    /// Those that have something to do.
    busy: BTreeMap<u32, Queue<T>>,
    /// Virtual time, in seats times seconds.
    virtual_time: f64,
    /// When it was looked at last.
    seen: Instant,
    /// The queue that was served last.
    served: u32,
    /// Requests that ever waited; gives them their numbers.
    enqueued: u64,
    waiting_seats: u32,
    /// Who waits, and who has waited and is not done, by their numbers.
    pub asked: BTreeMap<u64, Asked>,
}

impl<T> Queues<T> {
    pub(super) fn new(shape: Shape) -> Self {
        let (busy, asked, seen) = (BTreeMap::new(), BTreeMap::new(), Instant::now());
        Self { shape, busy, virtual_time: 0.0, seen, served: 0, enqueued: 0, waiting_seats: 0, asked }
    }

    /// The queues that have something to do, in order.
    pub(super) fn digest(&self) -> Vec<QueueDigest> {
        let digest = |(index, queue): (&u32, &Queue<T>)| QueueDigest {
            index: *index,
            waiting: queue.waiting.len(),
            waiting_seats: queue.waiting_seats,
            executing: queue.executing,
            executing_seats: queue.executing_seats,
            start: queue.start,
            work: f64::from(queue.waiting_seats) * SERVICE_SECONDS,
        };
        self.busy.iter().map(digest).collect()
    }

    /// Seats that those who wait want.
    pub(super) fn waiting_seats(&self) -> u32 {
        self.waiting_seats
    }

    /// Moves virtual time on to now; comes before every change.
    pub(super) fn advance(&mut self, now: Instant, limit: u32) {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = now;
        if self.busy.is_empty() {
            // Nobody compares with times from before.
            self.virtual_time = 0.0;
            return;
        }
        let wanted: u32 = self.busy.values().map(Queue::seats).sum();
        self.virtual_time += passed * f64::from(wanted.min(limit)) / self.busy.len() as f64;
    }

    /// Lets a request wait in the shortest queue of its flow's hand; gives it back when that queue is full.
    pub(super) fn enqueue(&mut self, flow: u64, seats: u32, token: T) -> Result<Ticket, T> {
        let hand = deal(flow, self.shape);
        let offset = usize::try_from(self.enqueued % hand.len().max(1) as u64).unwrap_or(0);
        let turned = hand.iter().cycle().skip(offset).take(hand.len());
        let waiting = |index: &u32| self.busy.get(index).map_or(0, |queue| queue.waiting_seats);
        let Some(index) = turned.copied().min_by_key(waiting) else { return Err(token) };
        if self.busy.get(&index).is_some_and(|queue| queue.waiting.len() >= self.shape.length_max) {
            return Err(token);
        }
        let now = self.virtual_time;
        let queue = self.busy.entry(index).or_insert_with(|| Queue {
            waiting: VecDeque::new(),
            waiting_seats: 0,
            executing: 0,
            executing_seats: 0,
            start: now,
        });
        self.enqueued += 1;
        self.waiting_seats += seats;
        queue.waiting_seats += seats;
        queue.waiting.push_back(Waiter { id: self.enqueued, seats, arrival: now, token });
        queue.bound();
        Ok(Ticket { queue: index, id: self.enqueued })
    }

    /// The request whose turn it is, if its seats are free; it leaves its queue.
    pub(super) fn next(&mut self, fits: impl Fn(u32) -> bool) -> Option<Next<T>> {
        let after = self.busy.range(self.served.saturating_add(1)..);
        let turned = after.chain(self.busy.range(..=self.served));
        let finish = |queue: &Queue<T>| {
            let oldest = queue.waiting.front()?;
            Some((queue.start + f64::from(oldest.seats) * SERVICE_SECONDS, oldest.seats))
        };
        let first = turned
            .filter_map(|(index, queue)| finish(queue).map(|(finish, seats)| (*index, finish, seats)))
            .min_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
        let (index, _, seats) = first.filter(|(_, _, seats)| fits(*seats))?;
        let queue = self.busy.get_mut(&index)?;
        let oldest = queue.waiting.pop_front()?;
        queue.waiting_seats -= seats;
        queue.executing += 1;
        queue.executing_seats += seats;
        queue.start += f64::from(seats) * SERVICE_SECONDS;
        queue.bound();
        self.waiting_seats -= seats;
        self.served = index;
        Some(Next { id: oldest.id, seats, token: oldest.token })
    }

    /// A request of a queue is done: its queue is charged for what it really took.
    pub(super) fn finish(&mut self, queue: u32, seats: u32, took: Duration) {
        let Some(busy) = self.busy.get_mut(&queue) else { return };
        busy.executing = busy.executing.saturating_sub(1);
        busy.executing_seats = busy.executing_seats.saturating_sub(seats);
        busy.start += (took.as_secs_f64() - SERVICE_SECONDS) * f64::from(seats);
        busy.bound();
        if busy.is_idle() {
            self.busy.remove(&queue);
        }
    }

    /// A request does not want to wait any more; false when it does not wait.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(queue) = self.busy.get_mut(&ticket.queue) else { return false };
        let Some(at) = queue.waiting.iter().position(|waiter| waiter.id == ticket.id) else { return false };
        let gone = queue.waiting.remove(at);
        let seats = gone.map_or(0, |waiter| waiter.seats);
        queue.waiting_seats -= seats;
        self.waiting_seats -= seats;
        queue.bound();
        if queue.is_idle() {
            self.busy.remove(&ticket.queue);
        }
        true
    }
}

/// The queues that a flow may use: shuffle sharding deals them out of all by the flow's number, none twice.
fn deal(mut flow: u64, shape: Shape) -> Vec<u32> {
    let mut hand: Vec<u32> = Vec::with_capacity(shape.hand as usize);
    for dealt in 0..shape.hand.min(shape.queues) {
        let left = u64::from(shape.queues - dealt);
        let mut card = u32::try_from(flow % left).unwrap_or(0);
        flow /= left;
        // The card is counted among those that are left.
        let mut taken = hand.clone();
        taken.sort_unstable();
        for other in taken {
            card += u32::from(other <= card);
        }
        hand.push(card);
    }
    hand
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { queues: 64, hand: 4, length_max: 10 };

    #[test]
    fn hands_hold_no_queue_twice_and_differ() {
        let mut seen = std::collections::HashSet::new();
        for flow in 0..2_000_u64 {
            let hand = deal(flow.wrapping_mul(0x9e37_79b9_7f4a_7c15), SHAPE);
            let mut sorted = hand.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert!(sorted.len() == 4 && sorted.iter().all(|q| *q < 64), "{hand:?}");
            seen.insert(sorted);
        }
        assert!(seen.len() > 1_980);
        assert_eq!(deal(7, Shape { queues: 1, hand: 1, length_max: 1 }), [0]);
        assert_eq!(deal(5, Shape { queues: 3, hand: 3, length_max: 1 }).len(), 3);
    }

    #[test]
    fn a_quiet_flow_does_not_wait_for_a_noisy_one() {
        let mut queues = Queues::new(Shape { queues: 2, hand: 1, length_max: 1_000 });
        for noise in 0..500 {
            queues.enqueue(0, 1, noise).unwrap();
        }
        for quiet in 1_000..1_005 {
            queues.enqueue(1, 1, quiet).unwrap();
        }
        let order: Vec<i32> = (0..20).map(|_| queues.next(|_| true).unwrap().token).collect();
        assert_eq!(order.iter().filter(|t| **t >= 1_000).count(), 5, "{order:?}");
        // Those of one flow come in the order in which they came.
        assert!(order.iter().filter(|t| **t < 1_000).is_sorted());
    }

    #[test]
    fn wide_requests_wait_for_room_and_cost_their_queue_more() {
        let mut queues = Queues::new(Shape { queues: 2, hand: 1, length_max: 100 });
        for index in 0..10 {
            queues.enqueue(0, 5, index).unwrap();
            queues.enqueue(1, 1, 100 + index).unwrap();
        }
        let order: Vec<i32> = (0..12).map(|_| queues.next(|_| true).unwrap().token).collect();
        assert!(order.iter().filter(|t| **t >= 100).count() >= 9, "{order:?}");
        assert!(queues.next(|seats| seats < 5).is_none());
        assert_eq!(
            queues.waiting_seats(),
            5 * 8 - 5 * (order.iter().filter(|t| **t < 100).count() as u32 - 2) + {
                10 - order.iter().filter(|t| **t >= 100).count() as u32
            }
        );
    }

    #[test]
    fn queues_fill_and_are_left() {
        let mut queues = Queues::new(Shape { queues: 1, hand: 1, length_max: 2 });
        let first = queues.enqueue(9, 1, 'a').unwrap();
        let second = queues.enqueue(9, 1, 'b').unwrap();
        assert_eq!(queues.enqueue(9, 1, 'c'), Err('c'));
        assert!(queues.leave(first) && !queues.leave(first));
        queues.enqueue(9, 1, 'c').unwrap();
        let next = queues.next(|_| true).unwrap();
        assert_eq!(next.token, 'b');
        queues.finish(second.queue, 1, Duration::from_millis(5));
        assert_eq!(queues.next(|_| true).unwrap().token, 'c');
        assert!(queues.next(|_| true).is_none());
    }
}

//! The pages under `/debug/api_priority_and_fairness/`, in upstream's columns.
//!
//! DIVERGES: of requests that have seats, those are listed that waited for them; who finds a seat free leaves no trace but its
//! seat, which is what makes that cheap.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::Flow;
use super::classify::{Counts, Digest, Schema};
use super::level::Level;
use crate::request::resource_path;

/// Levels with more queues than this show those alone that have something to do.
const IDLE_QUEUES_MAX: u32 = 1024;
/// What times are shown as that have not come: Go's zero.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A request that waits or has waited, as the pages show it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    schema: String,
    distinguisher: String,
    /// User, verb, path, namespace, name, version, resource and subresource.
    details: [String; 8],
    arrived: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) queue: u32,
    pub(super) seats: u32,
}

impl Asked {
    pub(super) fn new(schema: &Schema, digest: &Digest<'_>) -> Self {
        let Digest { user, verb, group, version, resource, subresource, namespace, name, path, .. } = *digest;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let path = match path {
            "" => resource_path([group, version, namespace, resource, name, subresource]),
            path => path.to_owned(),
        };
        let texts = [user.name.as_str(), verb, path.as_str(), namespace, name, &api_version, resource, subresource];
        Self {
            schema: schema.name.clone(),
            distinguisher: schema.distinguisher(digest).to_owned(),
            details: texts.map(str::to_owned),
            arrived: seams::clock::now(),
            ..Self::default()
        }
    }

    fn row(&self, level: &str, index: Option<usize>, details: bool) -> Vec<String> {
        let mut row = vec![
            level.to_owned(),
            self.schema.clone(),
            self.queue.to_string(),
            index.map_or_else(|| "-1".to_owned(), |index| index.to_string()),
            self.distinguisher.clone(),
            self.arrived.to_string(),
            self.seats.to_string(),
            "0".to_owned(),
            "0s".to_owned(),
            self.started.map_or_else(|| NEVER.to_owned(), |time| time.to_string()),
        ];
        if details {
            row.extend(self.details.iter().cloned());
        }
        row
    }
}

/// One queue, as the pages show it.
#[derive(Debug, Default)]
pub(super) struct QueueDigest {
    pub index: u32,
    pub waiting: usize,
    pub waiting_seats: u32,
    pub executing: u32,
    pub executing_seats: u32,
    /// When its next request starts, in virtual time: seats times seconds.
    pub start: f64,
    /// What those who wait are assumed to cost, likewise.
    pub work: f64,
}

/// A level, as the pages show it.
#[derive(Debug)]
pub(super) struct LevelDigest {
    pub queue_count: u32,
    /// Those that have something to do, in order.
    pub queues: Vec<QueueDigest>,
    /// In the order in which they came.
    pub asked: Vec<Asked>,
}

impl Flow {
    /// One of the pages, by its name. `details`: whether requests are told in full.
    pub(crate) fn debug_page(&self, name: &str, details: bool) -> Option<String> {
        match name {
            "dump_priority_levels" => Some(self.dump_levels()),
            "dump_queues" => Some(self.dump_queues()),
            "dump_requests" => Some(self.dump_requests(details)),
            _ => None,
        }
    }

    fn dump_levels(&self) -> String {
        let snapshot = self.snapshot.load();
        let mut rows = vec![heads(&[
            "PriorityLevelName",
            "ActiveQueues",
            "IsIdle",
            "IsQuiescing",
            "WaitingRequests",
            "ExecutingRequests",
            "DispatchedRequests",
            "RejectedRequests",
            "TimedoutRequests",
            "CancelledRequests",
        ])];
        for level in &snapshot.levels {
            let active = level.digest().queues.iter().filter(|queue| queue.waiting > 0).count();
            let (executing, (_, waiting)) = (level.executing(), level.load());
            let count = |counter: fn(&Counts) -> &AtomicU64| -> u64 {
                let own = snapshot.schemas.iter().filter(|schema| schema.level.name == level.name);
                own.map(|schema| counter(&schema.counts).load(Ordering::Relaxed)).sum()
            };
            let rejected = count(|counts| &counts.concurrency_limit) + count(|counts| &counts.queue_full);
            rows.push(vec![
                level.name.clone(),
                active.to_string(),
                (executing == 0 && waiting == 0).to_string(),
                // A level that goes is gone at once.
                "false".to_owned(),
                waiting.to_string(),
                executing.to_string(),
                count(|counts| &counts.dispatched).to_string(),
                rejected.to_string(),
                count(|counts| &counts.time_out).to_string(),
                level.cancelled.load(Ordering::Relaxed).to_string(),
            ]);
        }
        table(&rows)
    }

    fn dump_queues(&self) -> String {
        let mut rows = vec![heads(&[
            "PriorityLevelName",
            "Index",
            "PendingRequests",
            "ExecutingRequests",
            "SeatsInUse",
            "NextDispatchR",
            "InitialSeatsSum",
            "MaxSeatsSum",
            "TotalWorkSum",
        ])];
        for level in &self.snapshot.load().levels {
            rows.extend(queues(level).iter().map(|queue| {
                vec![
                    level.name.clone(),
                    queue.index.to_string(),
                    queue.waiting.to_string(),
                    queue.executing.to_string(),
                    queue.executing_seats.to_string(),
                    format!("{:.8}ss", queue.start.max(0.0)),
                    queue.waiting_seats.to_string(),
                    queue.waiting_seats.to_string(),
                    format!("{:.8}ss", queue.work),
                ]
            }));
        }
        table(&rows)
    }

    fn dump_requests(&self, details: bool) -> String {
        let mut head = heads(&[
            "PriorityLevelName",
            "FlowSchemaName",
            "QueueIndex",
            "RequestIndexInQueue",
            "FlowDistingsher",
            "ArriveTime",
            "InitialSeats",
            "FinalSeats",
            "AdditionalLatency",
            "StartTime",
        ]);
        if details {
            let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
            head.extend(heads(&more));
        }
        let mut rows = vec![head];
        for level in &self.snapshot.load().levels {
            let LevelDigest { mut asked, .. } = level.digest();
            // Queue by queue: those who wait, then those who have seats.
            asked.sort_by_key(|request| (request.queue, request.started.is_some()));
            let (mut queue, mut next) = (None, 0);
            for request in &asked {
                if queue != Some(request.queue) {
                    (queue, next) = (Some(request.queue), 0);
                }
                let index = request.started.is_none().then_some(next);
                next += 1;
                rows.push(request.row(&level.name, index, details));
            }
        }
        table(&rows)
    }
}

/// The queues of a level, those that have nothing to do too.
fn queues(level: &Level) -> Vec<QueueDigest> {
    let LevelDigest { queue_count, queues, .. } = level.digest();
    if queue_count > IDLE_QUEUES_MAX {
        return queues;
    }
    let last = queues.last().map_or(0, |queue| queue.index + 1);
    let mut busy = queues.into_iter().peekable();
    (0..queue_count.max(last))
        .map(|index| busy.next_if(|queue| queue.index == index).unwrap_or(QueueDigest { index, ..Default::default() }))
        .collect()
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Cells with commas, in columns as Go's tabwriter makes them.
fn table(rows: &[Vec<String>]) -> String {
    /// Narrowest column, and what stands between two, in characters.
    const WIDTH_MIN: usize = 8;
    const PADDING: usize = 1;
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count() + 1).max().unwrap_or(0);
        (widest + PADDING).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{:<width$}", format!("{cell},")));
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}

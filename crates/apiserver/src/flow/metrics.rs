//! Figures of flow control, in Prometheus' text format, under upstream's names.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Flow;
use super::classify::{Counts, Schema};
use super::level::Level;

impl Flow {
    /// The text.
    pub(crate) fn metrics(&self) -> String {
        let snapshot = self.snapshot.load();
        let mut text = String::new();
        let dispatched: &[(&str, Counter)] = &[("", |counts| &counts.dispatched)];
        let help = "Requests that were given a place.";
        by_schema(&mut text, "dispatched_requests_total", help, &snapshot.schemas, dispatched);
        let rejected: &[(&str, Counter)] = &[
            ("concurrency-limit", |counts| &counts.concurrency_limit),
            ("queue-full", |counts| &counts.queue_full),
            ("time-out", |counts| &counts.time_out),
        ];
        let help = "Requests that were turned away, by reason.";
        by_schema(&mut text, "rejected_requests_total", help, &snapshot.schemas, rejected);
        let gauges: [(&str, &str, Gauge); 4] = [
            ("current_inqueue_requests", "Requests that wait.", |level| level.load().1),
            ("current_executing_seats", "Seats in use.", |level| level.load().0),
            ("current_limit_seats", "Seats that may be used now.", Level::limit),
            ("demand_seats", "Seats that are used or waited for.", Level::demand),
        ];
        for (name, help, value) in gauges {
            head(&mut text, name, help, "gauge");
            for level in snapshot.levels.iter().filter(|level| !level.is_exempt || name != "current_limit_seats") {
                let (label, value) = (&level.name, value(level));
                let _ = writeln!(text, "apiserver_flowcontrol_{name}{{priority_level=\"{label}\"}} {value}");
            }
        }
        text
    }
}

type Counter = fn(&Counts) -> &AtomicU64;
type Gauge = fn(&Level) -> u32;

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(text, "# HELP apiserver_flowcontrol_{name} {help}\n# TYPE apiserver_flowcontrol_{name} {kind}\n");
}

fn by_schema(
    text: &mut String,
    name: &str,
    help: &str,
    schemas: &[std::sync::Arc<Schema>],
    counters: &[(&str, Counter)],
) {
    head(text, name, help, "counter");
    for schema in schemas {
        for (reason, counter) in counters {
            let count = counter(&schema.counts).load(Ordering::Relaxed);
            let reason = match reason {
                &"" => String::new(),
                reason => format!(",reason=\"{reason}\""),
            };
            let (own, level) = (&schema.name, &schema.level.name);
            let labels = format!("flow_schema=\"{own}\",priority_level=\"{level}\"{reason}");
            let _ = writeln!(text, "apiserver_flowcontrol_{name}{{{labels}}} {count}");
        }
    }
}

//! Counters of requests, in Prometheus' text format, under upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::info::RequestInfo;

/// What requests are counted by. Bounded: names that are not served are counted as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    requests: u64,
    took: Duration,
}

/// Counters of one server.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counts: Mutex<BTreeMap<Key, Count>>,
    in_flight: AtomicI64,
}

/// Counts a request as being in flight while it lives.
pub(super) struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request has come.
    pub(super) fn start(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// A request was answered.
    pub(super) fn count(&self, info: &RequestInfo, is_known: bool, code: u16, took: Duration) {
        let name = |text: &String| if is_known { text.clone() } else { String::new() };
        let key = Key {
            verb: match info.verb.as_str() {
                known @ ("get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection") => {
                    known.to_ascii_uppercase()
                }
                _ => "OTHER".to_owned(),
            },
            group: name(&info.group),
            version: name(&info.version),
            resource: name(&info.resource),
            subresource: if code < 400 { name(&info.subresource) } else { String::new() },
            code,
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        count.requests += 1;
        count.took += took;
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut requests = String::from(
            "# HELP apiserver_request_total Requests answered, by verb, resource and HTTP code.\n\
             # TYPE apiserver_request_total counter\n",
        );
        let mut took = String::from(
            "# HELP apiserver_request_duration_seconds_sum Time taken until the answer's headers were sent.\n\
             # TYPE apiserver_request_duration_seconds_sum counter\n",
        );
        for (key, count) in &counts {
            let Key { verb, group, version, resource, subresource, code } = key;
            let labels = format!(
                "code=\"{code}\",group=\"{group}\",resource=\"{resource}\",subresource=\"{subresource}\",\
                 verb=\"{verb}\",version=\"{version}\""
            );
            let _ = writeln!(requests, "apiserver_request_total{{{labels}}} {}", count.requests);
            let _ = writeln!(took, "apiserver_request_duration_seconds_sum{{{labels}}} {}", count.took.as_secs_f64());
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let _ = write!(
            requests,
            "{took}# HELP apiserver_current_inflight_requests Requests that are being answered.\n\
             # TYPE apiserver_current_inflight_requests gauge\napiserver_current_inflight_requests {in_flight}\n"
        );
        requests
    }
}

//! Cells of pods, as upstream computes them (`pkg/printers/internalversion/printers.go`, printPod).

use jiff::Timestamp;
use machinery::json::Value;

use crate::cells;
use crate::read::Read;

/// What the first columns show.
pub(super) struct Cells {
    /// `1/2`
    pub ready: String,
    /// `Running`, `Init:0/1`, `CrashLoopBackOff` …
    pub status: String,
    /// `3 (5m ago)`
    pub restarts: String,
}

/// What one walk over the container statuses gathers.
#[derive(Default)]
struct Tally<'a> {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<&'a str>,
    sidecar_restarts: i64,
    last_sidecar_restart: Option<&'a str>,
}

fn list<'a>(object: &'a Value, part: &str, key: &str) -> &'a [Value] {
    object.get(part).map_or(&[], |part| part.items(key))
}

/// Reads a pod's cells.
pub(super) fn read(pod: &Value, now: Timestamp) -> Cells {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let mut tally = Tally { reason: first_reason(status), ..Tally::default() };
    let initializing = walk_init_containers(pod, status, &mut tally);
    if !initializing || has_condition(status, "Initialized") {
        walk_containers(status, &mut tally);
    }
    let sidecars = list(pod, "spec", "initContainers").iter().filter(|c| c.text("restartPolicy") == "Always").count();
    let total = list(pod, "spec", "containers").len() + sidecars;
    if pod.str_at(&["metadata", "deletionTimestamp"]).is_some() {
        if status.text("reason") == "NodeLost" {
            tally.reason = "Unknown".to_owned();
        } else if !matches!(status.text("phase"), "Failed" | "Succeeded") {
            tally.reason = "Terminating".to_owned();
        }
    }
    let restarts = match tally.last_restart {
        Some(moment) if tally.restarts != 0 => format!("{} ({} ago)", tally.restarts, cells::since(moment, now)),
        _ => tally.restarts.to_string(),
    };
    Cells { ready: format!("{}/{total}", tally.ready), status: tally.reason, restarts }
}

fn first_reason(status: &Value) -> String {
    let gated = status
        .items("conditions")
        .iter()
        .any(|c| c.text("type") == "PodScheduled" && c.text("reason") == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    let reason = status.text("reason");
    if reason.is_empty() { status.text("phase").to_owned() } else { reason.to_owned() }
}

fn has_condition(status: &Value, kind: &str) -> bool {
    status.items("conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
}

fn later<'a>(known: &mut Option<&'a str>, container: &'a Value) {
    let finished = container.str_at(&["lastState", "terminated", "finishedAt"]);
    if finished.is_some() && (known.is_none() || finished > *known) {
        *known = finished;
    }
}

/// Goes over the init containers up to the first that is not done; returns whether there is one.
fn walk_init_containers<'a>(pod: &Value, status: &'a Value, tally: &mut Tally<'a>) -> bool {
    let specs = list(pod, "spec", "initContainers");
    for (index, container) in status.items("initContainerStatuses").iter().enumerate() {
        let restarts = container.int("restartCount").unwrap_or(0);
        tally.restarts += restarts;
        later(&mut tally.last_restart, container);
        let name = container.text("name");
        let sidecar = specs.iter().any(|c| c.text("name") == name && c.text("restartPolicy") == "Always");
        if sidecar {
            tally.sidecar_restarts += restarts;
            later(&mut tally.last_sidecar_restart, container);
        }
        let state = container.get("state").unwrap_or(&Value::Null);
        let terminated = state.present("terminated");
        if terminated.is_some_and(|t| t.int("exitCode").unwrap_or(0) == 0) {
            continue;
        }
        if sidecar && container.flag("started") {
            tally.ready += usize::from(container.flag("ready"));
            continue;
        }
        let waiting = state.present("waiting").map_or("", |w| w.text("reason"));
        tally.reason = match terminated {
            Some(terminated) => format!("Init:{}", end_reason(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", specs.len()),
        };
        return true;
    }
    false
}

fn end_reason(terminated: &Value) -> String {
    let reason = terminated.text("reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated.int("signal").unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

fn walk_containers<'a>(status: &'a Value, tally: &mut Tally<'a>) {
    tally.restarts = tally.sidecar_restarts;
    tally.last_restart = tally.last_sidecar_restart;
    let mut running = false;
    for container in status.items("containerStatuses").iter().rev() {
        tally.restarts += container.int("restartCount").unwrap_or(0);
        later(&mut tally.last_restart, container);
        let state = container.get("state").unwrap_or(&Value::Null);
        let waiting = state.present("waiting").map_or("", |w| w.text("reason"));
        if !waiting.is_empty() {
            tally.reason = waiting.to_owned();
        } else if let Some(terminated) = state.present("terminated") {
            tally.reason = end_reason(terminated);
        } else if container.flag("ready") && state.has("running") {
            running = true;
            tally.ready += 1;
        }
    }
    if tally.reason == "Completed" && running {
        tally.reason = if has_condition(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

/// The first of the pod's addresses.
pub(super) fn ip(pod: &Value) -> Value {
    let first = list(pod, "status", "podIPs").first().map_or("", |ip| ip.text("ip"));
    cells::or_none(if first.is_empty() { pod.str_at(&["status", "podIP"]).unwrap_or_default() } else { first })
}

/// The node's name.
pub(super) fn node(pod: &Value) -> Value {
    cells::or_none(pod.str_at(&["spec", "nodeName"]).unwrap_or_default())
}

/// The nominated node's name.
pub(super) fn nominated(pod: &Value) -> Value {
    cells::or_none(pod.str_at(&["status", "nominatedNodeName"]).unwrap_or_default())
}

/// `1/2` readiness gates.
pub(super) fn gates(pod: &Value) -> Value {
    let gates = list(pod, "spec", "readinessGates");
    if gates.is_empty() {
        return cells::NONE.into();
    }
    let status = pod.get("status").unwrap_or(&Value::Null);
    let met = gates.iter().filter(|gate| has_condition(status, gate.text("conditionType"))).count();
    format!("{met}/{}", gates.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(spec and status and deletion, ready, status, restarts)`
    const CASES: &[(&str, [&str; 3])] = &[
        (r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Pending"}}"#, ["0/1", "Pending", "0"]),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]}}"#,
            ["0/1", "SchedulingGated", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Pending","containerStatuses":[{"name":"a","restartCount":0,"state":{"waiting":{"reason":"ContainerCreating"}}}]}}"#,
            ["0/1", "ContainerCreating", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","ready":true,"restartCount":1,"state":{"running":{}},"lastState":{"terminated":{"finishedAt":"2026-01-01T00:05:00Z"}}},{"name":"b","ready":false,"restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#,
            ["1/2", "CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Succeeded","containerStatuses":[{"name":"a","state":{"terminated":{"reason":"Completed","exitCode":0}}}]}}"#,
            ["0/1", "Completed", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","state":{"terminated":{"reason":"Completed","exitCode":0}}},{"name":"b","ready":true,"state":{"running":{}}}]}}"#,
            ["1/2", "NotReady", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"a","state":{"terminated":{"reason":"Completed","exitCode":0}}},{"name":"b","ready":true,"state":{"running":{}}}]}}"#,
            ["1/2", "Running", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":3}}}]}}"#,
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":137,"signal":9}}}]}}"#,
            ["0/1", "Signal:9", "0"],
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"a"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":0}}},{"name":"j","state":{"running":{}}}]}}"#,
            ["0/1", "Init:1/2", "0"],
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#,
            ["0/1", "Init:CrashLoopBackOff", "2"],
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}]},"status":{"phase":"Failed","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":1,"reason":"Error"}}}]}}"#,
            ["0/1", "Init:Error", "0"],
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}]},"status":{"phase":"Failed","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":1}}}]}}"#,
            ["0/1", "Init:ExitCode:1", "0"],
        ),
        (
            r#"{"spec":{"initContainers":[{"name":"i","restartPolicy":"Always"}],"containers":[{"name":"a"}]},"status":{"phase":"Running","initContainerStatuses":[{"name":"i","started":true,"ready":true,"restartCount":1,"state":{"running":{}}}],"containerStatuses":[{"name":"a","ready":true,"restartCount":1,"state":{"running":{}}}]}}"#,
            ["2/2", "Running", "2"],
        ),
        (
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]}}"#,
            ["1/1", "Terminating", "0"],
        ),
        (
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running","reason":"NodeLost"}}"#,
            ["0/1", "Unknown", "0"],
        ),
        (
            r#"{"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","reason":"Evicted"}}"#,
            ["0/1", "Evicted", "0"],
        ),
    ];

    #[test]
    fn cells_of_many_states() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        for (text, wanted) in CASES {
            let cells = read(&Value::parse(text.as_bytes()).unwrap(), now);
            assert_eq!([cells.ready.as_str(), &cells.status, &cells.restarts], *wanted, "{text}");
        }
    }
}

//! Tables: what was seen, and what the API shows.

use std::sync::Arc;

use runtime::ContainerState;

use super::*;

fn pod(spec: &str) -> Wanted {
    let text = format!(r#"{{"metadata":{{"name":"p","uid":"u","generation":4}},"spec":{spec}}}"#);
    Wanted::new(Arc::new(serde_json::from_str(&text).unwrap()))
}

fn seen(name: &str, state: ContainerState, exit_code: Option<i32>) -> ContainerStatus {
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    ContainerStatus {
        id: name.to_owned(),
        sandbox_id: "s".to_owned(),
        name: name.to_owned(),
        attempt: 0,
        state,
        pid: None,
        created_at: at,
        started_at: Some(at),
        finished_at: exit_code.map(|_| at),
        exit_code,
        signal: None,
        reason: String::new(),
        message: String::new(),
        image_reference: String::new(),
        image_id: String::new(),
        image_ref: String::new(),
        user: None,
        log_path: Default::default(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

/// `a+` runs, `a=1` ended with 1.
fn made(spec: &str, words: &str, over: bool) -> PodStatus {
    let list: Vec<ContainerStatus> = words
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((name, code)) => seen(name, ContainerState::Exited, code.parse().ok()),
            None => seen(word.trim_end_matches('+'), ContainerState::Running, None),
        })
        .collect();
    of(spec, &list, over, &PodStatus::default())
}

/// The status after another one, with these containers.
fn of(spec: &str, list: &[ContainerStatus], over: bool, before: &PodStatus) -> PodStatus {
    let wanted = pod(spec);
    let now = "2026-01-01T00:00:09Z".parse().unwrap();
    status(&Seen {
        wanted: &wanted,
        sandboxes: &[],
        containers: list,
        health: &BTreeMap::new(),
        waiting: &BTreeMap::new(),
        last_words: &BTreeMap::new(),
        devices: &BTreeMap::new(),
        reset: &Default::default(),
        restarting: None,
        pending: None,
        progress: None,
        actuated: &Actuated::default(),
        failure: None,
        over,
        before,
        host_ip: None,
        runtime: "skiff",
        started: now,
        now,
    })
}

fn condition(status: &PodStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap();
    (found.status.clone(), found.reason.clone().unwrap_or_default())
}

#[test]
fn phases_follow_the_containers() {
    let two = |policy: &str| format!(r#"{{"restartPolicy":"{policy}","containers":[{{"name":"a"}},{{"name":"b"}}]}}"#);
    for (policy, words, over, phase) in [
        ("Always", "", false, "Pending"),
        ("Always", "a+", false, "Pending"),
        ("Always", "a+ b+", false, "Running"),
        ("Always", "a=1 b+", false, "Running"),
        ("Always", "a=1 b=1", false, "Running"),
        ("OnFailure", "a=0 b=1", false, "Running"),
        ("OnFailure", "a=0 b=0", true, "Succeeded"),
        ("Never", "a=0 b=0", false, "Succeeded"),
        ("Never", "a=0 b=2", false, "Failed"),
    ] {
        let status = made(&two(policy), words, over);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {words}");
    }
}

#[test]
fn init_containers_hold_the_pod_back() {
    let spec = r#"{"restartPolicy":"Never","initContainers":[{"name":"i"}],"containers":[{"name":"a"}]}"#;
    for (words, phase, initialized) in [
        ("", "Pending", "False"),
        ("i+", "Pending", "False"),
        ("i=0", "Pending", "True"),
        ("i=1", "Failed", "False"),
        ("i=0 a+", "Running", "True"),
    ] {
        let status = made(spec, words, false);
        assert_eq!(status.phase.as_deref(), Some(phase), "{words}");
        assert_eq!(condition(&status, "Initialized").0, initialized, "{words}");
    }
    let waits = made(spec, "i+", false).container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waits.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn readiness_gates_and_probes_count() {
    let gated = r#"{"readinessGates":[{"conditionType":"g"}],"containers":[{"name":"a"}]}"#;
    let status = made(gated, "a+", false);
    assert_eq!(condition(&status, "ContainersReady").0, "True");
    assert_eq!(condition(&status, "Ready"), ("False".to_owned(), "ReadinessGatesNotReady".to_owned()));
    let probed = r#"{"containers":[{"name":"a","readinessProbe":{"exec":{"command":["x"]}}}]}"#;
    let status = made(probed, "a+", false);
    assert_eq!(condition(&status, "Ready"), ("False".to_owned(), "ContainersNotReady".to_owned()));
    assert_eq!(status.observed_generation, Some(4));
}

#[test]
fn ended_containers_say_how() {
    let one = r#"{"restartPolicy":"Never","containers":[{"name":"a"}]}"#;
    for (words, reason) in [("a=0", "Completed"), ("a=137", "Error")] {
        let status = made(one, words, false);
        let ended = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
        assert_eq!(ended.reason.as_deref(), Some(reason));
        assert_eq!(ended.container_id.as_deref(), Some("skiff://a"));
    }
}

#[test]
fn a_successor_that_does_not_run_yet_leaves_the_end_before_it_told() {
    let one = r#"{"containers":[{"name":"a"}]}"#;
    let before = made(one, "a+", false);
    let successor = ContainerStatus { attempt: 1, ..seen("a", ContainerState::Created, None) };
    let told = |list: &[ContainerStatus]| {
        let status = of(one, list, false, &before).container_statuses.unwrap().remove(0);
        let ended = status.last_state.unwrap().terminated.unwrap();
        assert!(status.state.unwrap().waiting.is_some());
        (status.restart_count, ended.exit_code, ended.reason.unwrap())
    };
    let first = seen("a", ContainerState::Exited, Some(3));
    assert_eq!(told(&[first, successor.clone()]), (1, 3, "Error".to_owned()));
    assert_eq!(told(&[successor]), (1, 137, "ContainerStatusUnknown".to_owned()));
}

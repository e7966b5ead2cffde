//! Tables: what was seen, and what is done next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};

use super::*;
use crate::wanted::Wanted;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn container(name: &str) -> Container {
    Container { name: name.to_owned(), image: Some("i".to_owned()), ..Container::default() }
}

fn pod(policy: &str, init: Vec<Container>, main: &[&str]) -> Wanted {
    let spec = PodSpec {
        restart_policy: Some(policy.to_owned()),
        init_containers: Some(init),
        containers: main.iter().map(|n| container(n)).collect(),
        termination_grace_period_seconds: Some(30),
        ..PodSpec::default()
    };
    let metadata = ObjectMeta { name: Some("p".into()), uid: Some("u".into()), ..ObjectMeta::default() };
    Wanted::new(Arc::new(Pod { metadata, spec: Some(spec), status: None }))
}

fn sidecar(name: &str) -> Container {
    Container { restart_policy: Some("Always".to_owned()), ..container(name) }
}

fn sandbox(state: SandboxState) -> SandboxStatus {
    SandboxStatus {
        id: "s0".to_owned(),
        name: "p".to_owned(),
        namespace: "n".to_owned(),
        uid: "u".to_owned(),
        attempt: 0,
        state,
        created_at: at(0),
        ips: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

fn seen(name: &str, attempt: u32, state: ContainerState, exit_code: Option<i32>) -> ContainerStatus {
    ContainerStatus {
        id: format!("{name}-{attempt}"),
        sandbox_id: "s0".to_owned(),
        name: name.to_owned(),
        attempt,
        state,
        pid: None,
        created_at: at(i64::from(attempt)),
        started_at: None,
        finished_at: exit_code.map(|_| at(5)),
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

/// `a+` runs, `a=0` ended with 0, `a?` was made but not started; `a.1+` is the second attempt.
fn containers(text: &str) -> Vec<ContainerStatus> {
    text.split_whitespace()
        .map(|word| {
            let end = word.find(['+', '=', '?']).unwrap();
            let (name, attempt) = word[..end].split_once('.').unwrap_or((&word[..end], "0"));
            let attempt = attempt.parse().unwrap();
            match &word[end..=end] {
                "+" => seen(name, attempt, ContainerState::Running, None),
                "?" => seen(name, attempt, ContainerState::Created, None),
                _ => seen(name, attempt, ContainerState::Exited, word[end + 1..].parse().ok()),
            }
        })
        .collect()
}

#[derive(Default)]
struct World {
    health: BTreeMap<String, Health>,
    stopping: BTreeMap<String, Stopping>,
    earlier: BTreeMap<String, u32>,
    crash_waits: BTreeMap<String, Timestamp>,
    start_waits: BTreeMap<String, Timestamp>,
    ending: Option<Ending>,
}

impl World {
    fn plan(&self, wanted: &Wanted, sandboxes: &[SandboxStatus], containers: &[ContainerStatus]) -> Plan {
        plan(&Facts {
            wanted,
            sandboxes,
            containers,
            health: &self.health,
            stopping: &self.stopping,
            earlier: &self.earlier,
            bringing_up: false,
            stopping_sandbox: false,
            crash_waits: &self.crash_waits,
            start_waits: &self.start_waits,
            sandbox_wait: None,
            volumes: Volumes::Mounted,
            ending: self.ending.as_ref(),
            now: at(10),
        })
    }
}

fn words(plan: &Plan) -> String {
    let word = |action: &Action| match action {
        Action::MountVolumes => "mount".to_owned(),
        Action::CreateSandbox { attempt, .. } => format!("sandbox.{attempt}"),
        Action::StopSandbox { id } => format!("down:{id}"),
        Action::Start { name, attempt, restart, replaces } => {
            let replaces = replaces.as_ref().map_or_else(String::new, |id| format!("<{id}"));
            format!("start:{name}.{attempt}{}{replaces}", if *restart { "!" } else { "" })
        }
        Action::Kill { id, .. } => format!("kill:{id}"),
        Action::Reset { ids, .. } => format!("reset:{}", ids.join(",")),
        Action::BeginStop { name, .. } => format!("stop:{name}"),
        Action::RunHook { name, .. } => format!("hook:{name}"),
        Action::Signal { id, grace } => format!("signal:{id}/{}", grace.as_secs()),
    };
    let mut list: Vec<String> = plan.actions.iter().map(word).collect();
    list.extend(plan.over.then(|| "over".to_owned()));
    list.extend(plan.gone.then(|| "gone".to_owned()));
    list.extend(plan.crash_looping.iter().map(|n| format!("loops:{n}")));
    list.join(" ")
}

#[test]
fn containers_start_and_restart_by_policy() {
    for (policy, was, then) in [
        ("Always", "", "start:a.0 start:b.0"),
        ("Always", "a+ b+", ""),
        ("Always", "a=0 b+", "start:a.1!"),
        ("OnFailure", "a=0 b+", ""),
        ("OnFailure", "a=1 b+", "start:a.1!"),
        ("Never", "a=1 b+", ""),
        ("Never", "a=1 b=0", "over"),
        ("OnFailure", "a=0 b=0", "over"),
        ("OnFailure", "a=0 b=0 a.1=0", "over"),
        // The agent died between create and start: the same attempt, no restart.
        ("Always", "a? b+", "start:a.0<a-0"),
    ] {
        let wanted = pod(policy, vec![], &["a", "b"]);
        let plan = World::default().plan(&wanted, &[sandbox(SandboxState::Ready)], &containers(was));
        assert_eq!(words(&plan), then, "{policy} {was}");
    }
}

#[test]
fn init_containers_run_in_order() {
    let init = || vec![container("i"), sidecar("s"), container("j")];
    for (policy, was, then) in [
        ("Always", "", "start:i.0"),
        ("Always", "i+", ""),
        ("Always", "i=1", "start:i.1!"),
        ("Never", "i=1", "over"),
        ("Always", "i=0", "start:s.0"),
        ("Always", "i=0 s+", "start:j.0"),
        ("Always", "i=0 s=1", "start:s.1!"),
        ("Always", "i=0 s+ j=0", "start:a.0"),
        // A sidecar comes back while its elders run, and when only the last init container is remembered.
        ("Always", "s=1 j+", "start:s.1!"),
        ("Always", "j=0 s+", "start:a.0"),
        ("Always", "s=2 a+", "start:s.1!"),
        ("Never", "s+ a=0", "over"),
    ] {
        let wanted = pod(policy, init(), &["a"]);
        let plan = World::default().plan(&wanted, &[sandbox(SandboxState::Ready)], &containers(was));
        assert_eq!(words(&plan), then, "{policy} {was}");
    }
}

#[test]
fn a_container_may_restart_all() {
    let rules = r#"[{"action":"Restart","exitCodes":{"operator":"In","values":[1]}},
        {"action":"RestartAllContainers","exitCodes":{"operator":"In","values":[1,88]}}]"#;
    let rules: Vec<_> = serde_json::from_str(rules).unwrap();
    let asking = || Container { restart_policy_rules: Some(rules.clone()), ..sidecar("s") };
    let ready = [sandbox(SandboxState::Ready)];
    for (was, then) in [
        ("i=0 s=1 a+", "start:s.1!"),
        ("i=0 s=88 a+", "kill:a-0"),
        ("i=0 s=88 a=137", "reset:i-0,a-0,s-0"),
        ("i=0 s=1 s.1=88 a=0", "reset:i-0,s-0,a-0,s-1"),
        // Somebody died in between: the one that asks is the last to go.
        ("s.1=88", "reset:s-1"),
    ] {
        let wanted = pod("Never", vec![container("i"), asking()], &["a"]);
        let plan = World::default().plan(&wanted, &ready, &containers(was));
        assert_eq!(words(&plan), then, "{was}");
        assert_eq!(plan.restarting.is_some(), !then.starts_with("start"), "{was}");
    }
    let mut world = World::default();
    world.crash_waits.insert("s".into(), at(15));
    let wanted = pod("Never", vec![asking()], &["a"]);
    let plan = world.plan(&wanted, &ready, &containers("s=88 a=137"));
    assert_eq!((words(&plan).as_str(), plan.wake_at), ("loops:s", Some(at(15))));
    let told = plan.restarting.unwrap_or_default();
    assert_eq!(told, "Container s exited with code 88, triggering pod restart");
}

#[test]
fn a_sidecars_startup_probe_holds_the_next_back() {
    let probed = Container { startup_probe: Some(Probe::default()), ..sidecar("s") };
    let wanted = pod("Always", vec![probed], &["a"]);
    let mut world = World::default();
    let ready = [sandbox(SandboxState::Ready)];
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("s+"))), "");
    world.health.insert("s-0".into(), Health { startup: Some(true), ..Health::default() });
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("s+"))), "start:a.0");
}

#[test]
fn sandboxes_are_made_and_replaced() {
    for (policy, states, was, then) in [
        ("Always", None, "", "sandbox.0"),
        ("Always", Some(SandboxState::NotReady), "a=0", "sandbox.1"),
        ("Always", Some(SandboxState::NotReady), "a+", "down:s0"),
        ("OnFailure", Some(SandboxState::NotReady), "a=0", "over"),
        ("Never", Some(SandboxState::NotReady), "a=1", "over"),
    ] {
        let wanted = pod(policy, vec![], &["a"]);
        let sandboxes: Vec<_> = states.into_iter().map(sandbox).collect();
        let plan = World::default().plan(&wanted, &sandboxes, &containers(was));
        assert_eq!(words(&plan), then, "{policy} {was}");
    }
}

#[test]
fn a_crashed_container_waits() {
    let wanted = pod("Always", vec![], &["a"]);
    let mut world = World::default();
    world.crash_waits.insert("a".into(), at(15));
    let plan = world.plan(&wanted, &[sandbox(SandboxState::Ready)], &containers("a=1"));
    assert_eq!((words(&plan).as_str(), plan.wake_at), ("loops:a", Some(at(15))));
    world.crash_waits.insert("a".into(), at(9));
    let plan = world.plan(&wanted, &[sandbox(SandboxState::Ready)], &containers("a=1"));
    assert_eq!(words(&plan), "start:a.1!");
}

#[test]
fn an_unhealthy_container_is_stopped_and_started_again() {
    let wanted = pod("Always", vec![], &["a"]);
    let mut world = World::default();
    let ready = [sandbox(SandboxState::Ready)];
    world.health.insert("a-0".into(), Health { liveness: Some(false), ..Health::default() });
    let plan = world.plan(&wanted, &ready, &containers("a+"));
    let Action::BeginStop { message, grace, .. } = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(message, "Container a failed liveness probe, will be restarted");
    assert_eq!(*grace, Duration::from_secs(30));
    let stopping = |hook| Stopping { since: at(10), grace: Duration::from_secs(30), hook, kill_at: None };
    world.stopping.insert("a-0".into(), stopping(Hook::Waiting));
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("a+"))), "hook:a");
    world.stopping.insert("a-0".into(), stopping(Hook::Done));
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("a+"))), "signal:a-0/30");
    world.stopping.insert("a-0".into(), Stopping { kill_at: Some(at(40)), ..stopping(Hook::Done) });
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("a+"))), "");
}

#[test]
fn a_pod_ends_with_its_sidecars_last_and_in_reverse() {
    let wanted = pod("Always", vec![sidecar("s"), sidecar("t")], &["a"]);
    let mut world =
        World { ending: Some(Ending { since: at(10), grace: Duration::from_secs(20) }), ..World::default() };
    let ready = [sandbox(SandboxState::Ready)];
    assert_eq!(words(&world.plan(&wanted, &ready, &containers("s+ t+ a+"))), "stop:s stop:t stop:a");
    for id in ["s-0", "t-0", "a-0"] {
        let stopping = Stopping { since: at(10), grace: Duration::from_secs(20), hook: Hook::Done, kill_at: None };
        world.stopping.insert(id.into(), stopping);
    }
    for (was, then) in [
        ("s+ t+ a+", "signal:a-0/20"),
        ("s+ t+ a=0", "signal:t-0/20"),
        ("s+ t=0 a=0", "signal:s-0/20"),
        ("s=0 t=0 a=0", "down:s0"),
    ] {
        assert_eq!(words(&world.plan(&wanted, &ready, &containers(was))), then, "{was}");
    }
    let down = [sandbox(SandboxState::NotReady)];
    assert_eq!(words(&world.plan(&wanted, &down, &containers("s=0 t=0 a=0"))), "gone");
}

#[test]
fn a_shorter_grace_sends_the_signal_again() {
    let wanted = pod("Always", vec![], &["a"]);
    let mut world = World { ending: Some(Ending { since: at(10), grace: Duration::from_secs(3) }), ..World::default() };
    let grace = Duration::from_secs(60);
    world.stopping.insert("a-0".into(), Stopping { since: at(5), grace, hook: Hook::Done, kill_at: Some(at(65)) });
    let plan = world.plan(&wanted, &[sandbox(SandboxState::Ready)], &containers("a+"));
    assert_eq!(words(&plan), "signal:a-0/3");
}

#[test]
fn what_a_reboot_took_is_counted_as_a_restart() {
    let wanted = pod("Always", vec![], &["a", "b"]);
    let world = World { earlier: BTreeMap::from([("a".to_owned(), 3)]), ..World::default() };
    assert_eq!(words(&world.plan(&wanted, &[sandbox(SandboxState::Ready)], &[])), "start:a.3 start:b.0");
}

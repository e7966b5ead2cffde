//! Changes of pods' resources while they run.

use super::*;

const MI: u64 = 1 << 20;

/// A pod `name` with a container of the same name that has this CPU and memory.
fn put(world: &World, name: &str, generation: i64, cpu: &str, memory: &str, more: &str) {
    let amounts = format!(r#"{{"cpu":"{cpu}","memory":"{memory}"}}"#);
    let resources = format!(r#"{{"requests":{amounts},"limits":{amounts}}}"#);
    let status = world.status(name);
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Pod",
            "metadata":{{"name":"{name}","namespace":"n","uid":"uid-{name}","generation":{generation}}},
            "spec":{{"nodeName":"node1",{more}"containers":[{{"name":"{name}-c","image":"app","resources":{resources}}}]}}}}"#
    );
    let mut pod = Value::parse(text.as_bytes()).unwrap();
    pod.set_at(&["status"], status);
    world.api.put("pods", "n", name, pod);
}

/// All there is, in thousandths, less `rest`.
fn most(rest: usize) -> String {
    let cpus = std::thread::available_parallelism().unwrap().get();
    format!("{}m", cpus * 1000 - rest)
}

fn waits(status: &Value, kind: &str) -> Option<(String, String, i64)> {
    let list = status.get("conditions").and_then(Value::as_array);
    let found = list.into_iter().flatten().find(|c| c.str_at(&["type"]) == Some(kind))?.clone();
    let text = |name: &str| found.str_at(&[name]).unwrap_or_default().to_owned();
    Some((text("reason"), text("message"), found.i64_at(&["observedGeneration"]).unwrap_or(0)))
}

fn cpu(status: &Value, list: &str) -> String {
    let own = container(status);
    let path: &[&str] =
        if list == "allocated" { &["allocatedResources", "cpu"] } else { &["resources", "limits", "cpu"] };
    own.str_at(path).unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fits_is_carried_out_in_place() {
    let world = World::new();
    put(&world, "p", 1, "100m", "64Mi", "");
    world.until("p", |s| phase(s) == "Running").await;
    assert_eq!(world.status("p").str_at(&["allocatedResources", "memory"]), Some("64Mi"));
    put(&world, "p", 2, "200m", "128Mi", "");
    world.until("p", |s| cpu(s, "actual") == "200m" && waits(s, "PodResizeInProgress").is_none()).await;
    assert_eq!(cpu(&world.status("p"), "allocated"), "200m");
    let (updates, count) = {
        let state = world.runtime.state.lock().unwrap();
        (state.updates.clone(), state.containers.len())
    };
    let (_, given) = updates.iter().rfind(|(name, _)| name == "p-c").unwrap();
    assert_eq!((given.cpu_quota, given.memory_limit), (Some(20_000), Some(128 << 20)));
    assert_eq!(count, 1, "nothing was started anew");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = world.api.events();
    for what in ["ResizeStarted: Pod resize started: {", "ResizeCompleted: Pod resize completed: {"] {
        assert!(events.iter().any(|e| e.starts_with(what) && e.contains(r#""generation":2"#)), "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_waits_for_room() {
    let world = World::new();
    put(&world, "a", 1, "200m", "64Mi", "");
    put(&world, "b", 1, "200m", "64Mi", r#""priority":5,"#);
    put(&world, "big", 1, &most(500), "64Mi", "");
    for name in ["a", "b", "big"] {
        world.until(name, |s| phase(s) == "Running").await;
    }
    for name in ["a", "b"] {
        put(&world, name, 2, "400m", "64Mi", if name == "b" { r#""priority":5,"# } else { "" });
        world.until(name, |s| waits(s, "PodResizePending").is_some_and(|w| w.0 == "Deferred" && w.2 == 2)).await;
    }
    let (_, message, _) = waits(&world.status("a"), "PodResizePending").unwrap();
    assert!(message.starts_with("Node didn't have enough resource: cpu, requested: 400, used: "), "{message}");
    assert_eq!(cpu(&world.status("a"), "actual"), "200m");
    // Too much for this node at any time.
    put(&world, "a", 3, "900", "64Mi", "");
    world.until("a", |s| waits(s, "PodResizePending").is_some_and(|w| w.0 == "Infeasible" && w.2 == 3)).await;
    put(&world, "a", 4, "400m", "64Mi", "");
    world.until("a", |s| waits(s, "PodResizePending").is_some_and(|w| w.0 == "Deferred" && w.2 == 4)).await;
    // Who makes room is taken at once; it is enough for one, and the more important pod gets it.
    put(&world, "big", 2, &most(700), "64Mi", "");
    world.until("b", |s| cpu(s, "actual") == "400m" && waits(s, "PodResizePending").is_none()).await;
    assert_eq!(cpu(&world.status("a"), "actual"), "200m");
    // An agent that starts anew knows what it gave.
    world.stop.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop.send_replace(false);
    world.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(waits(&world.status("a"), "PodResizePending").unwrap().0, "Deferred");
    assert_eq!(cpu(&world.status("a"), "allocated"), "200m");
    // What is taken back waits no more.
    put(&world, "a", 5, "200m", "64Mi", "");
    world.until("a", |s| waits(s, "PodResizePending").is_none()).await;
    assert!(world.api.events().iter().any(|e| e.starts_with("ResizeDeferred: Pod resize Deferred: {")));
}

#[tokio::test(start_paused = true)]
async fn memory_is_not_taken_below_what_is_used() {
    let world = World::new();
    put(&world, "p", 1, "100m", "256Mi", "");
    world.until("p", |s| phase(s) == "Running").await;
    let used = |bytes: u64| {
        let mut state = world.runtime.state.lock().unwrap();
        state.memory_use = [("p".to_owned(), bytes), ("p-c".to_owned(), bytes)].into();
    };
    used(100 * MI);
    put(&world, "p", 2, "100m", "64Mi", "");
    world.until("p", |s| waits(s, "PodResizeInProgress").is_some_and(|w| w.0 == "Error")).await;
    let (_, message, generation) = waits(&world.status("p"), "PodResizeInProgress").unwrap();
    let wanted = "cannot decrease memory limits: [attempting to set pod memory limit (67108864) below current usage \
        (104857600), attempting to set container \"p-c\" memory limit (67108864) below current usage (104857600)]";
    assert_eq!((message.as_str(), generation), (wanted, 2));
    let limit = |s: &Value| container(s).str_at(&["resources", "limits", "memory"]).map(str::to_owned);
    let status = world.status("p");
    assert_eq!(limit(&status).as_deref(), Some("256Mi"));
    assert_eq!(container(&status).str_at(&["allocatedResources", "memory"]), Some("64Mi"));
    used(10 * MI);
    world.until("p", |s| limit(s).as_deref() == Some("64Mi") && waits(s, "PodResizeInProgress").is_none()).await;
    assert!(world.api.events().iter().any(|e| e.starts_with("ResizeError: Pod resize error: {")));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_asks_for_it_is_restarted_on_a_resize() {
    let world = World::new();
    let resources = |cpu: &str| {
        format!(
            r#"{{"nodeName":"node1","resources":{{"requests":{{"cpu":"{cpu}"}},"limits":{{"cpu":"1"}}}},
                "containers":[{{"name":"a","image":"app","resizePolicy":[{{"resourceName":"cpu",
                "restartPolicy":"RestartContainer"}}],"resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}"#
        )
    };
    world.pod("p", &resources("100m"));
    world.until("p", |s| phase(s) == "Running").await;
    assert_eq!(world.status("p").str_at(&["resources", "requests", "cpu"]), Some("100m"));
    let mut pod = world.api.get("pods", "n", "p").unwrap();
    pod.set_at(&["spec"], Value::parse(resources("300m").as_bytes()).unwrap());
    world.api.put("pods", "n", "p", pod);
    world.until("p", |s| container(s).i64_at(&["restartCount"]) == Some(1)).await;
    let given = |s: &Value| container(s).str_at(&["resources", "requests", "cpu"]).map(str::to_owned);
    world.until("p", |s| given(s).as_deref() == Some("300m") && waits(s, "PodResizeInProgress").is_none()).await;
    assert_eq!(world.status("p").str_at(&["resources", "requests", "cpu"]), Some("300m"));
    assert_eq!(world.status("p").str_at(&["allocatedResources", "cpu"]), Some("300m"));
}

//! Measures create + start + remove of a container, exec, and new sandboxes: `runtime_bench [ROUNDS]`, as root.
//! The image is made of this very program, which as a container's program ends at once.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for the console")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::*;
use tokio::time::Instant;

struct NoNetwork;

impl PodNetwork for NoNetwork {
    fn setup<'a>(
        &'a self,
        _: &'a str,
        _: &'a Path,
        _: &'a SandboxConfig,
    ) -> BoxFuture<'a, Result<Vec<std::net::IpAddr>>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn teardown<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("{what:28} median {:7.2} ms   p99 {:7.2} ms   min {:7.2} ms", at(50), at(99), at(0));
}

fn sandbox_config(number: usize) -> SandboxConfig {
    SandboxConfig {
        hostname: "bench".to_owned(),
        cgroup_parent: format!("/pod{number}"),
        pid: NamespaceMode::Container,
        ..SandboxConfig::default()
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("shim") => shim_main(arguments.into_iter().skip(2)),
        Some("hello") => return,
        Some("sleep") => loop {
            std::thread::park();
        },
        _ => {}
    }
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(100);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(bench(rounds));
}

async fn bench(rounds: usize) {
    let directory = tempfile::Builder::new().prefix("skiff-bench-").tempdir().unwrap();
    let root = directory.path().file_name().unwrap().to_string_lossy().into_owned();
    let options = BuiltinOptions {
        data_dir: directory.path().join("data"),
        state_dir: directory.path().join("state"),
        shim_exe: std::env::current_exe().unwrap(),
        network: Arc::new(NoNetwork),
        cgroup_root: format!("/{root}"),
    };
    let runtime = BuiltinRuntime::open(options).await.unwrap();
    let image = runtime.pull_image("localhost/skiff/hello:v1", Vec::new()).await.unwrap().image;
    let sandbox = runtime.run_pod_sandbox(sandbox_config(0)).await.unwrap().id;
    let (mut starts, mut removes) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (start, remove) = life(&runtime, &sandbox, &image.id).await;
        starts.push(start);
        removes.push(remove);
    }
    report("container create+start", starts);
    report("container remove", removes);
    let (mut wholes, mut pairs) = (Vec::new(), Vec::new());
    for _ in 0..rounds / 2 {
        for _ in 0..2 {
            let (start, remove) = life(&runtime, &sandbox, &image.id).await;
            wholes.push(start + remove);
        }
        let (one, other) = tokio::join!(life(&runtime, &sandbox, &image.id), life(&runtime, &sandbox, &image.id));
        pairs.extend([one.0 + one.1, other.0 + other.1]);
    }
    report("create+start+remove", wholes);
    report("the same, two in parallel", pairs);
    report("exec", execs(&runtime, &sandbox, &image.id, rounds).await);
    let mut times = Vec::new();
    for number in 1..=rounds.min(30) {
        let begin = Instant::now();
        let id = runtime.run_pod_sandbox(sandbox_config(number)).await.unwrap().id;
        times.push(begin.elapsed());
        runtime.remove_pod_sandbox(&id).await.unwrap();
    }
    report("sandbox", times);
    let begin = Instant::now();
    let all = (100..150).map(|number| {
        let (runtime, image) = (runtime.clone(), image.id.clone());
        async move {
            let sandbox = runtime.run_pod_sandbox(sandbox_config(number)).await.unwrap().id;
            let config = ContainerConfig { image, ..ContainerConfig::default() };
            let id = runtime.create_container(&sandbox, config).await.unwrap();
            runtime.start_container(&id).await.unwrap();
            sandbox
        }
    });
    let sandboxes = futures_util::future::join_all(all).await;
    println!("50 pods at once              {:7.2} ms", begin.elapsed().as_secs_f64() * 1000.0);
    for id in sandboxes.iter().chain([&sandbox]) {
        runtime.remove_pod_sandbox(id).await.unwrap();
    }
    for entry in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(entry.path().join(&root));
    }
}

/// One container: how long it took to make and start, and to remove.
async fn life(runtime: &BuiltinRuntime, sandbox: &str, image: &str) -> (Duration, Duration) {
    let config = ContainerConfig { image: image.to_owned(), ..ContainerConfig::default() };
    let begin = Instant::now();
    let id = runtime.create_container(sandbox, config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let started = begin.elapsed();
    let begin = Instant::now();
    runtime.remove_container(&id).await.unwrap();
    (started, begin.elapsed())
}

/// Commands that end at once, in a container that stays.
async fn execs(runtime: &BuiltinRuntime, sandbox: &str, image: &str, rounds: usize) -> Vec<Duration> {
    let program = "/skiff".to_owned();
    let command = vec![program.clone(), "sleep".to_owned()];
    let config = ContainerConfig { image: image.to_owned(), command, ..ContainerConfig::default() };
    let id = runtime.create_container(sandbox, config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let output = runtime.exec_sync(&id, vec![program.clone(), "hello".to_owned()], None).await.unwrap();
        assert_eq!(output.exit_code, 0, "{output:?}");
        times.push(begin.elapsed());
    }
    runtime.remove_container(&id).await.unwrap();
    times
}

//! What containers see of each other and of the machine.

use super::*;

pub async fn output(world: &World, id: &str, script: &str) -> String {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let output = world.runtime.exec_sync(id, command, None).await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

pub async fn shared_processes() {
    let world = World::new().await;
    let sandbox = world.sandbox_with(|config| config.pid = NamespaceMode::Pod).await;
    let first = world.start(&sandbox, "exec sleep 1111", |_| ()).await;
    let second = world.start(&sandbox, "exec sleep 2222", |config| config.name = "second".to_owned()).await;
    let seen = output(&world, &first, "ps -o pid,args").await;
    for part in ["1 /pause", "sleep 1111", "sleep 2222"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    // Neither the shim's own name nor a path of the host shows.
    assert!(!seen.contains("shim") && !seen.contains("sandboxes"), "{seen}");
    assert!(output(&world, &first, "ls /proc/1/root/ 2>&1").await.contains("denied"));
    // What a container leaves behind is reaped by the pod's init, and goes with its container.
    let _ = output(&world, &second, "sleep 3333 & sleep 0").await;
    world.runtime.stop_container(&second, Duration::ZERO).await.unwrap();
    let seen = output(&world, &first, "ps -o pid,args").await;
    assert!(!seen.contains("2222") && !seen.contains("3333") && seen.contains("1111"), "{seen}");
    world.finish(&sandbox).await;
}

pub async fn pid_target() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let target = world.start(&sandbox, "exec sleep 1111", |_| ()).await;
    let own = target.clone();
    let debugger = world.start(&sandbox, "exec sleep 2222", |config| config.pid_target = Some(own)).await;
    let seen = output(&world, &debugger, "ps -o pid,args").await;
    assert!(seen.contains("1 sleep 1111") && seen.contains("sleep 2222"), "{seen}");
    world.runtime.stop_container(&target, Duration::ZERO).await.unwrap();
    assert_eq!(world.ended(&debugger).await.exit_code, Some(137));
    let config = ContainerConfig {
        image: "busybox:test".to_owned(),
        command: vec!["true".to_owned()],
        pid_target: Some(target.clone()),
        ..ContainerConfig::default()
    };
    let late = world.runtime.create_container(&sandbox, config).await.unwrap();
    let error = world.runtime.start_container(&late).await.unwrap_err().to_string();
    assert_eq!(error, format!("target container {target} is not running"));
    world.finish(&sandbox).await;
}

pub async fn process_limit() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let limit = |config: &mut ContainerConfig| config.resources.pids_limit = Some(4);
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait";
    let id = world.start(&sandbox, script, limit).await;
    world.ended(&id).await;
    assert!(world.log().contains("can't fork"), "{}", world.log());
    world.finish(&sandbox).await;
}

pub async fn masks() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    for (script, wanted) in [
        ("cat /proc/kcore /proc/keys /proc/timer_list | wc -c", "0\n"),
        ("ls /proc/acpi /proc/scsi /sys/firmware | grep -v : | grep -c .", "0\n"),
        ("echo 1 > /proc/sys/kernel/panic", "Read-only file system"),
        ("touch /sys/x", "Read-only file system"),
        ("mount -t tmpfs none /dev/shm", "ermission denied"),
        ("ls /dev | grep -c vda", "0\n"),
    ] {
        let seen = output(&world, &id, script).await;
        assert!(seen.contains(wanted), "{script}: {seen}");
    }
    let all = |config: &mut ContainerConfig| config.security.privileged = true;
    let id = world.start(&sandbox, "exec sleep 1000", all).await;
    assert_eq!(output(&world, &id, "mount -t tmpfs none /dev/shm && echo done").await, "done\n");
    assert!(!output(&world, &id, "head -c 1 /proc/timer_list | wc -c").await.contains("0\n"));
    // `procMount: Unmasked` shows /proc as it is, and gives no more rights than that.
    let open = |config: &mut ContainerConfig| config.security.unmasked_proc = true;
    let id = world.start(&sandbox, "exec sleep 1000", open).await;
    assert!(!output(&world, &id, "head -c 1 /proc/timer_list | wc -c").await.contains("0\n"));
    assert!(output(&world, &id, "mount -t tmpfs none /dev/shm").await.contains("ermission denied"));
    world.finish(&sandbox).await;
}

pub async fn limits() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let limit = |config: &mut ContainerConfig| {
        config.resources = Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(64 << 20),
            pids_limit: Some(50),
            ..Resources::default()
        };
    };
    let id = world.start(&sandbox, "exec sleep 1000", limit).await;
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (files, before, after) = if v2 {
        ("cpu.weight cpu.max memory.max memory.swap.max pids.max", "59\n50000 100000\n67108864\n0\n50\n", "134217728\n")
    } else {
        (
            "cpu/cpu.shares cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes pids/pids.max",
            "512\n50000\n67108864\n50\n",
            "134217728\n",
        )
    };
    let read = format!("cd /sys/fs/cgroup && cat {files}");
    let seen = output(&world, &id, &read).await;
    assert!(seen == before || seen == before.replace("0\n50\n", "50\n"), "{seen}");
    let more = Resources { memory_limit: Some(128 << 20), ..Resources::default() };
    world.runtime.update_resources(&id, more.clone()).await.unwrap();
    world.runtime.update_pod_sandbox(&sandbox, more).await.unwrap();
    assert!(output(&world, &id, &read).await.contains(after));
    let usage = world.runtime.container_usage(&id).await.unwrap();
    assert!(usage.memory_usage > 0 && usage.pids == 1, "{usage:?}");
    assert!(world.runtime.sandbox_usage(&sandbox).await.unwrap().memory_usage >= usage.memory_rss);
    // /dev/kmsg is no device of a container's, even when it makes the node itself.
    let script = "busybox mknod /kmsg c 1 11; head -c 1 /kmsg; head -c 1 /dev/zero | wc -c";
    let seen = output(&world, &id, script).await;
    assert!(seen.contains("not permitted") && seen.contains("1\n"), "{seen}");
    world
        .runtime
        .exec_sync(&id, ["/bin/sh", "-c", "head -c 300000 /dev/zero > /file"].map(str::to_owned).to_vec(), None)
        .await
        .unwrap();
    assert!(world.runtime.container_disk_usage(&id).await.unwrap() >= 300_000);
    world.finish(&sandbox).await;
}

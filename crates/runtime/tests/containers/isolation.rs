//! What containers see of each other and of the machine.

use super::*;

async fn output(world: &World, id: &str, script: &str) -> String {
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
    world.finish(&sandbox).await;
}

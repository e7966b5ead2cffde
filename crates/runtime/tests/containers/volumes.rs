//! Volumes of the runtime's own kind, and what a user namespace does to all of them.

use super::isolation::output;
use super::*;

pub async fn images() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let image = world.runtime.image_status("busybox:test").await.unwrap().unwrap().id;
    let mount = |path: &str, part: &str| Mount {
        container_path: path.to_owned(),
        image: Some(image.clone()),
        image_sub_path: part.to_owned(),
        ..Mount::default()
    };
    let mounts = vec![mount("/all", ""), mount("/part", "etc"), mount("/file", "etc/passwd")];
    let id = world.start(&sandbox, "exec sleep 1000", |config| config.mounts = mounts).await;
    for (script, wanted) in [
        ("grep -c app /all/etc/passwd /part/passwd /file", "/all/etc/passwd:1\n/part/passwd:1\n/file:1\n"),
        ("touch /all/x", "Read-only file system"),
        ("/all/bin/busybox true", "ermission denied"),
    ] {
        let seen = output(&world, &id, script).await;
        assert!(seen.contains(wanted), "{script}: {seen}");
    }
    let missing = ContainerConfig {
        name: "other".to_owned(),
        image: image.clone(),
        command: vec!["/bin/true".to_owned()],
        mounts: vec![mount("/none", "none")],
        ..ContainerConfig::default()
    };
    let id = world.runtime.create_container(&sandbox, missing).await.unwrap();
    let error = world.runtime.start_container(&id).await.unwrap_err().to_string();
    assert!(error.contains("subPath \"none\" of the image"), "{error}");
    // The image goes, its layers stay as long as they are mounted.
    world.runtime.remove_image("busybox:test").await.unwrap();
    world.finish(&sandbox).await;
}

pub async fn user_namespace() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new().await;
    let users = IdRange { first: 65536 * 7, length: 65536 };
    let sandbox = world.sandbox_with(|config| config.users = Some(users)).await;
    let image = world.runtime.image_status("busybox:test").await.unwrap().unwrap().id;
    let host = world.directory.path().join("shared");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("of-root"), "").unwrap();
    let mounts = vec![
        Mount { container_path: "/shared".to_owned(), host_path: host.clone(), ..Mount::default() },
        Mount { container_path: "/image".to_owned(), image: Some(image), ..Mount::default() },
    ];
    let same = mounts.clone();
    let id = world.start(&sandbox, "exec sleep 1000", |config| config.mounts = mounts).await;
    for (script, wanted) in [
        ("cat /proc/self/uid_map", "458752"),
        ("id", "uid=0(root) gid=0"),
        ("ls -ln / /shared /image/etc /dev | grep -c -w 65534", "0\n"),
        ("touch /root-file /shared/made /dev/shm/x && ls -ln /root-file /shared/made | grep -c -w \"0 *0\"", "2\n"),
        ("hostname", "pod-host"),
        ("mount -t tmpfs none /mnt", "ermission denied"),
        ("echo 1 > /proc/sys/kernel/panic", "Read-only file system"),
        ("echo x > /dev/null && echo fine", "fine\n"),
    ] {
        let seen = output(&world, &id, script).await;
        assert!(seen.contains(wanted), "{script}: {seen}");
    }
    // On the disk the volume's files have the ids of inside; the process has those of outside.
    let made = std::fs::metadata(host.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0));
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), users.first);
    let privileged = |config: &mut ContainerConfig| {
        config.security.privileged = true;
        config.mounts = same;
    };
    let id = world.start(&sandbox, "exec sleep 1000", privileged).await;
    assert_eq!(output(&world, &id, "mount -t tmpfs none /dev/shm && echo done").await, "done\n");
    let app = |config: &mut ContainerConfig| config.security.run_as_user = Some(1000);
    let id = world.start(&sandbox, "id; exec sleep 1000", app).await;
    assert!(output(&world, &id, "id").await.contains("uid=1000(app) gid=1001(app)"));
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), users.first + 1000);
    world.finish(&sandbox).await;
}

//! Attached clients, terminals, input, ports.

use super::*;

async fn read_until(reader: &mut Reader, wanted: &str) -> String {
    let (mut text, mut block) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        let count = reader.read(&mut block).await.unwrap();
        assert!(count > 0, "{text:?} ended without {wanted:?}");
        text += &String::from_utf8_lossy(&block[..count]);
    }
    text
}

pub async fn attach() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let script = "while read line; do echo got $line; echo err $line >&2; done; echo over; sleep 0.1; exit 4";
    let with_input = |config: &mut ContainerConfig| (config.stdin, config.stdin_once) = (true, true);
    let id = world.start(&sandbox, script, with_input).await;
    let mut watcher = world.runtime.attach(&id, false).await.unwrap();
    let mut client = world.runtime.attach(&id, true).await.unwrap();
    client.stdin.as_mut().unwrap().write_all(b"one\n").await.unwrap();
    read_until(client.stdout.as_mut().unwrap(), "got one\n").await;
    read_until(client.stderr.as_mut().unwrap(), "err one\n").await;
    read_until(watcher.stdout.as_mut().unwrap(), "got one\n").await;
    // The first client's end is the end of the input (stdinOnce).
    client.stdin = None;
    read_until(client.stdout.as_mut().unwrap(), "over\n").await;
    assert_eq!((client.exit.await.unwrap(), watcher.exit.await.unwrap()), (4, 4));
    assert_eq!(world.ended(&id).await.exit_code, Some(4));
    assert!(world.runtime.attach(&id, false).await.is_err());
    world.finish(&sandbox).await;
}

pub async fn terminal() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let script = "trap 'echo size $(stty size)' WINCH; while true; do read -t 1 line && echo got $line; done";
    let with_terminal = |config: &mut ContainerConfig| (config.stdin, config.tty) = (true, true);
    let id = world.start(&sandbox, script, with_terminal).await;
    let mut client = world.runtime.attach(&id, true).await.unwrap();
    assert!(client.stderr.is_none());
    let output = client.stdout.as_mut().unwrap();
    // Whoever answers has set its trap.
    client.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    read_until(output, "got hello\r\n").await;
    client.resize.send((91, 17)).await.unwrap();
    read_until(output, "size 17 91\r\n").await;
    // Control-C ends the foreground process; the shell is the container's own.
    client.stdin.as_mut().unwrap().write_all(&[3]).await.unwrap();
    assert_eq!(world.ended(&id).await.exit_code, Some(130));
    let words = ["/bin/sh", "-c", "stty size; exit 5"].map(str::to_owned).to_vec();
    let id = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    let request = ExecRequest { command: words, tty: true, stdin: true };
    let mut streams = world.runtime.exec(&id, request).await.unwrap();
    read_until(streams.stdout.as_mut().unwrap(), "\r\n").await;
    assert_eq!(streams.exit.await.unwrap(), 5);
    world.finish(&sandbox).await;
}

pub async fn slow_input() {
    const BYTES: usize = 1 << 20;
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let with_input = |config: &mut ContainerConfig| (config.stdin, config.stdin_once) = (true, true);
    let id = world.start(&sandbox, "until [ -e /go ]; do sleep 0.1; done; wc -c", with_input).await;
    let mut client = world.runtime.attach(&id, true).await.unwrap();
    let mut input = client.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        input.write_all(&vec![b'x'; BYTES]).await.unwrap();
    });
    // While its input waits, the shim answers others.
    world.runtime.exec_sync(&id, ["touch", "/go"].map(str::to_owned).to_vec(), None).await.unwrap();
    read_until(client.stdout.as_mut().unwrap(), &format!("{BYTES}\n")).await;
    feed.await.unwrap();
    world.finish(&sandbox).await;
}

pub async fn connect() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    // Loopback of a namespace without a network is down; the pod network sets it up elsewhere.
    let shim = world.directory.path().join("state/sandboxes").join(&sandbox).join("shim.json");
    let shim: serde_json::Value = serde_json::from_slice(&std::fs::read(shim).unwrap()).unwrap();
    let target = shim["pid"].to_string();
    let up =
        std::process::Command::new("nsenter").args(["-t", &target, "-n", "ip", "link", "set", "lo", "up"]).status();
    if !up.is_ok_and(|status| status.success()) {
        world.finish(&sandbox).await;
        return println!("skipped: needs nsenter and ip");
    }
    let id = world.start(&sandbox, "echo inside | nc -l -p 8080; exec sleep 1000", |_| ()).await;
    let refused = world.runtime.connect(&sandbox, 9).await.err().unwrap().to_string();
    assert!(refused.contains("refused"), "{refused}");
    let mut stream = loop {
        match world.runtime.connect(&sandbox, 8080).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let mut text = [0; 7];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"inside\n");
    world.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    world.finish(&sandbox).await;
}

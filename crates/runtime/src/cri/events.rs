//! Changes, found by comparing lists (upstream's PLEG). Where the runtime tells that something happened, the lists are
//! compared at once; otherwise every second.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::observe::FINAL_AFTER;
use super::*;

/// After something happened, the lists are compared after each of these: a runtime tells of an end before it has written
/// it down itself. The last one repeats until it has, or was given the time for it.
const AFTER: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];
const WRITTEN_AFTER: Duration = Duration::from_secs(60);
/// How often they are compared when nothing is told: without a stream of events (upstream's period), and with one.
const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_WITH_EVENTS: Duration = Duration::from_secs(20);
/// CRI's states of a container that has ended, and of a sandbox that works.
const EXITED: i32 = 2;
const READY: i32 = 0;
/// containerd's topics.
const EXIT: &str = "/tasks/exit";
const OOM: &str = "/tasks/oom";
/// How long a lost stream of events rests.
const STREAM_WAIT: Duration = Duration::from_secs(2);

/// What exists: the state of each object, and whose it is.
type Seen = HashMap<String, Object>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    state: i32,
    /// The sandbox itself, or the sandbox of the container.
    sandbox_id: String,
    pod_uid: String,
    is_container: bool,
}

impl Object {
    fn has_ended(&self) -> bool {
        if self.is_container { self.state == EXITED } else { self.state != READY }
    }
}

/// The changes from now on.
pub fn subscribe(inner: &Inner) -> BoxStream<'static, RuntimeEvent> {
    let receiver = inner.events.subscribe();
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }))
}

/// Looks for changes as long as the runtime is in use.
pub async fn follow(inner: Weak<Inner>) {
    let streaming = Arc::new(AtomicBool::new(false));
    let listener = tokio::spawn(listen(inner.clone(), streaming.clone()));
    let mut seen = Seen::new();
    let mut ended: Vec<(Instant, RuntimeEvent)> = Vec::new();
    let mut step = 0;
    while let Some(strong) = inner.upgrade() {
        let period = match streaming.load(Ordering::Relaxed) {
            _ if !lock(&strong.told_ended).is_empty() => AFTER[AFTER.len() - 1],
            true => PERIOD_WITH_EVENTS,
            false => PERIOD,
        };
        let wait = AFTER.get(step).copied().unwrap_or(period);
        let hinted = tokio::time::timeout(wait, strong.acted.notified()).await.is_ok();
        if hinted && step > 0 {
            step = 0;
            continue;
        }
        step = (step + 1).min(AFTER.len());
        // When all is quiet, and no pod is being made.
        let alone = if step == AFTER.len() { strong.making.try_write().ok() } else { None };
        let begun = Instant::now();
        match look(&strong).await {
            Ok(now) => {
                if let Some(_alone) = alone {
                    strong.sweep_groups(|uid| now.values().any(|object| object.pod_uid == uid));
                }
                let changes = changes(&seen, &now);
                lock(&strong.told_ended)
                    .retain(|id, at| *at >= begun || (is_awaited(&now, id) && at.elapsed() < WRITTEN_AFTER));
                // They are told of with each look until nothing more is learnt of them.
                ended.retain(|(at, _)| at.elapsed() < FINAL_AFTER);
                for event in changes.iter().chain(ended.iter().map(|(_, event)| event)) {
                    let _ = strong.events.send(event.clone());
                }
                ended.extend(ends(&changes, &now).map(|event| (Instant::now(), event.clone())));
                seen = now;
            }
            // Nothing is known, which is not the same as nothing being there.
            Err(error) => tracing::debug!(%error, "the container runtime's lists cannot be read"),
        }
    }
    listener.abort();
}

async fn look(inner: &Inner) -> Result<Seen> {
    let sandboxes = inner.list_sandboxes().await?;
    let containers = inner.list_containers().await?;
    let uids: HashMap<String, String> =
        sandboxes.iter().map(|s| (s.id.clone(), s.metadata.clone().unwrap_or_default().uid)).collect();
    let of_sandbox = sandboxes.iter().map(|s| {
        let pod_uid = uids.get(&s.id).cloned().unwrap_or_default();
        (s.id.clone(), Object { state: s.state, sandbox_id: s.id.clone(), pod_uid, is_container: false })
    });
    let of_container = containers.into_iter().map(|c| {
        let pod_uid = uids.get(&c.pod_sandbox_id).cloned().unwrap_or_default();
        (c.id, Object { state: c.state, sandbox_id: c.pod_sandbox_id, pod_uid, is_container: true })
    });
    Ok(of_sandbox.chain(of_container).collect())
}

/// Whether something is there that is to end.
fn is_awaited(now: &Seen, id: &str) -> bool {
    now.get(id).is_some_and(|object| !object.has_ended())
}

/// What is new, different or gone.
fn changes(before: &Seen, now: &Seen) -> Vec<RuntimeEvent> {
    let changed = now.iter().filter(|(id, object)| before.get(*id).is_none_or(|old| old.state != object.state));
    let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
    let event = |(id, object): (&String, &Object)| match object.is_container {
        true => RuntimeEvent::Container {
            sandbox_id: object.sandbox_id.clone(),
            pod_uid: object.pod_uid.clone(),
            container_id: id.clone(),
        },
        false => RuntimeEvent::Sandbox { sandbox_id: id.clone(), pod_uid: object.pod_uid.clone() },
    };
    // A sandbox that is merely new is known to whoever made it.
    let news = changed.filter(|(id, object)| object.is_container || before.contains_key(*id) || object.state != 0);
    news.chain(gone).map(event).collect()
}

/// Which changes are ends of containers.
fn ends<'a>(changes: &'a [RuntimeEvent], now: &Seen) -> impl Iterator<Item = &'a RuntimeEvent> {
    changes.iter().filter(|event| match event {
        RuntimeEvent::Container { container_id, .. } => now.get(container_id).is_some_and(Object::has_ended),
        RuntimeEvent::Sandbox { .. } => false,
    })
}

/// Passes on that something happened, from CRI's own stream of events, else from that of containerd below it.
async fn listen(inner: Weak<Inner>, streaming: Arc<AtomicBool>) {
    let mut cri = true;
    while let Some(channel) = inner.upgrade().map(|strong| strong.channel.clone()) {
        let hint = |ended: Option<String>| {
            streaming.store(true, Ordering::Relaxed);
            if let Some(strong) = inner.upgrade() {
                lock(&strong.told_ended).extend(ended.map(|id| (id, Instant::now())));
                strong.acted.notify_one();
            }
        };
        let ended = if cri { cri_events(&channel, hint).await } else { containerd_events(&channel, hint).await };
        streaming.store(false, Ordering::Relaxed);
        match ended {
            Err(status) if status.code == Code::Unimplemented && cri => cri = false,
            Err(status) if status.code == Code::Unimplemented => return,
            _ => tokio::time::sleep(STREAM_WAIT).await,
        }
    }
}

async fn cri_events(channel: &Channel, hint: impl Fn(Option<String>)) -> std::result::Result<(), grpc::Status> {
    let method = "runtime.v1.RuntimeService/GetContainerEvents";
    let mut answers = channel.start::<proto::ContainerEventResponse>(method, &proto::GetEventsRequest {}, None).await?;
    while answers.next().await?.is_some() {
        hint(None);
    }
    Ok(())
}

async fn containerd_events(channel: &Channel, hint: impl Fn(Option<String>)) -> std::result::Result<(), grpc::Status> {
    let method = "containerd.services.events.v1.Events/Subscribe";
    let filters = [EXIT, OOM].map(|topic| format!("namespace==k8s.io,topic=={topic:?}")).to_vec();
    let mut answers = channel.start::<proto::Envelope>(method, &proto::SubscribeRequest { filters }, None).await?;
    while let Some(envelope) = answers.next().await? {
        if let Some(ended) = tells(&envelope) {
            hint(ended);
        }
    }
    Ok(())
}

/// What an event of containerd's tells: nothing, when a process ended that was executed in a container (a probe, say); the
/// container that ended; or only that something happened, when it is short of memory.
fn tells(envelope: &proto::Envelope) -> Option<Option<String>> {
    if envelope.topic != EXIT {
        return Some(None);
    }
    let value = envelope.event.as_ref().map_or(&[][..], |any| &any.value);
    let exit = proto::TaskExit::decode(value).unwrap_or_default();
    (exit.id == exit.container_id).then_some(Some(exit.container_id))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use futures_util::future::ready;
    use futures_util::{StreamExt, stream};

    use super::*;

    fn object(state: i32, is_container: bool) -> Object {
        Object { state, sandbox_id: "s".to_owned(), pod_uid: "u".to_owned(), is_container }
    }

    fn seen(list: &[(&str, Object)]) -> Seen {
        list.iter().map(|(id, object)| ((*id).to_owned(), object.clone())).collect()
    }

    #[test]
    fn the_end_of_a_probe_is_no_news() {
        let of = |topic: &str, id: &str| {
            let exit = proto::TaskExit { container_id: "c".to_owned(), id: id.to_owned() };
            let event = Some(proto::Any { value: exit.encode_to_vec() });
            tells(&proto::Envelope { topic: topic.to_owned(), event })
        };
        assert_eq!(of(EXIT, "c"), Some(Some("c".to_owned())));
        assert_eq!(of(EXIT, "probe"), None);
        assert_eq!(of(OOM, ""), Some(None), "that memory is short is told without a process");
    }

    #[test]
    fn an_end_is_awaited_until_the_lists_show_it() {
        let now =
            seen(&[("s", object(0, false)), ("c", object(1, true)), ("d", object(2, true)), ("t", object(1, false))]);
        let awaited = ["s", "c", "d", "t", "gone"].map(|id| is_awaited(&now, id));
        assert_eq!(awaited, [true, true, false, false, false]);
    }

    #[tokio::test]
    async fn a_runtime_may_be_slow_to_write_an_end_down() {
        // containerd under load: the end is told, and its lists show it when all hasty looks are over.
        let written = AFTER.iter().sum::<Duration>() + Duration::from_millis(400);
        let told = Arc::new(OnceLock::new());
        let call = move |method: &str, _: bytes::Bytes| {
            let told = told.clone();
            let one = |message: Vec<u8>| stream::once(ready(Ok(bytes::Bytes::from(message)))).boxed();
            let annotations = |name: &str| [(name.to_owned(), String::new())].into();
            match method.rsplit('/').next()? {
                "ListPodSandbox" => {
                    let annotations = annotations(translate::SANDBOX_ANNOTATION);
                    let item = proto::PodSandbox { id: "s".to_owned(), annotations, ..Default::default() };
                    Some(one(proto::ListPodSandboxResponse { items: vec![item] }.encode_to_vec()))
                }
                "ListContainers" => {
                    let ended = told.get().is_some_and(|at: &Instant| at.elapsed() > written);
                    let container = proto::Container {
                        id: "c".to_owned(),
                        pod_sandbox_id: "s".to_owned(),
                        state: if ended { EXITED } else { 1 },
                        annotations: annotations(translate::CONTAINER_ANNOTATION),
                        ..Default::default()
                    };
                    Some(one(proto::ListContainersResponse { containers: vec![container] }.encode_to_vec()))
                }
                "Subscribe" => {
                    let exit = proto::TaskExit { container_id: "c".to_owned(), id: "c".to_owned() };
                    let event = Some(proto::Any { value: exit.encode_to_vec() });
                    let envelope = proto::Envelope { topic: EXIT.to_owned(), event }.encode_to_vec();
                    let tell = async move {
                        // The lists were read before.
                        tokio::time::sleep(PERIOD).await;
                        told.get_or_init(Instant::now);
                        Ok(bytes::Bytes::from(envelope))
                    };
                    Some(stream::once(tell).chain(stream::pending()).boxed())
                }
                _ => None,
            }
        };
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("s.sock");
        let server = tokio::spawn(grpc::serve(tokio::net::UnixListener::bind(&socket).expect("a socket"), call));
        let runtime =
            CriRuntime::new(CriOptions { socket, cgroup_root: "/skiff-nothing".to_owned() }).expect("cgroups");
        let mut events = subscribe(&runtime.0);
        let begun = Instant::now();
        // The container is new, and then it has ended.
        for _ in 0..2 {
            let event = tokio::time::timeout(PERIOD_WITH_EVENTS / 2, events.next()).await.expect("it is not forgotten");
            assert!(matches!(event, Some(RuntimeEvent::Container { container_id, .. }) if container_id == "c"));
        }
        assert!(begun.elapsed() > PERIOD + written);
        server.abort();
    }

    #[test]
    fn changes_are_what_differs() {
        let before = seen(&[("s", object(0, false)), ("c", object(1, true)), ("old", object(2, true))]);
        let now = seen(&[("s", object(0, false)), ("c", object(2, true)), ("new", object(0, true))]);
        let mut ids: Vec<String> = changes(&before, &now)
            .into_iter()
            .map(|event| match event {
                RuntimeEvent::Container { container_id, .. } => container_id,
                RuntimeEvent::Sandbox { sandbox_id, .. } => sandbox_id,
            })
            .collect();
        ids.sort();
        assert_eq!(ids, ["c", "new", "old"]);
        let ends: Vec<_> = ends(&changes(&before, &now), &now).cloned().collect();
        assert!(matches!(ends.as_slice(), [RuntimeEvent::Container { container_id, .. }] if container_id == "c"));
        assert!(changes(&now, &now).is_empty());
        let stopped = seen(&[("s", object(1, false))]);
        let lost = RuntimeEvent::Sandbox { sandbox_id: "s".to_owned(), pod_uid: "u".to_owned() };
        assert_eq!(changes(&seen(&[("s", object(0, false))]), &stopped), [lost]);
        assert!(changes(&Seen::new(), &seen(&[("s", object(0, false))])).is_empty(), "whoever made it knows");
    }
}

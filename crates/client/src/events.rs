//! Records events about objects (client-go's EventRecorder): equal ones are counted, similar ones combined, floods cut.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use machinery::json::Value;
use tokio::sync::mpsc;

use crate::api::{Api, Client, Resource};
use crate::backend::PatchKind;

/// Events that wait to be written; more are dropped.
const WAITING_EVENTS_MAX: usize = 1_000;
/// Series that are remembered for counting; the oldest are forgotten.
const SERIES_MAX: usize = 4_096;
/// More similar events than this within [`SIMILAR_WINDOW`] become one combined series.
const SIMILAR_MAX: usize = 10;
/// How long similar events count together.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Events that an object may cause at once, and how long one more takes to be allowed.
const BURST_MAX: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Things go as they should.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Note {
    object: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
    stamp: i64,
}

/// Records events of one component. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder for a component, on a host (empty when it is not bound to one). Its task ends with the last clone.
    pub fn new(client: &Client, component: &str, host: &str) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING_EVENTS_MAX);
        let source =
            EventSource { component: Some(component.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()) };
        tokio::spawn(write_all(client.clone(), source, waiting));
        Self { notes }
    }

    /// Records an event about `object`.
    pub fn event(&self, object: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let note = Note {
            object: object.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: seams::clock::now_seconds(),
            stamp: stamp(),
        };
        if self.notes.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped: too many wait");
        }
    }

    /// Records an event about a typed object.
    pub fn event_on<K: Resource>(&self, object: &K, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&reference(object), kind, reason, message);
    }
}

/// Nanoseconds since 1970, never the same twice: events of one second are sorted by their names, which end with it.
fn stamp() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = i64::try_from(seams::clock::now().as_nanosecond()).unwrap_or(i64::MAX - 1);
    let last = LAST.fetch_max(now, Ordering::Relaxed);
    if last < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 }
}

/// A reference to an object, as events hold it.
pub fn reference<K: Resource>(object: &K) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// What makes events similar: everything but the message.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Similar {
    object: String,
    kind: EventType,
    reason: String,
}

struct Series {
    name: String,
    namespace: String,
    count: i32,
    last: Timestamp,
}

#[derive(Default)]
struct Memory {
    series: HashMap<(Similar, String), Series>,
    similar: HashMap<Similar, (Vec<u64>, Timestamp)>,
    budgets: HashMap<String, (f64, Timestamp)>,
}

impl Memory {
    /// Whether the object's budget still allows an event.
    fn allow(&mut self, object: &str, now: Timestamp) -> bool {
        trim(&mut self.budgets, |(_, at)| *at);
        let (tokens, at) = self.budgets.entry(object.to_owned()).or_insert((BURST_MAX, now));
        let passed = now.duration_since(*at).as_secs_f64();
        *tokens = (*tokens + passed / REFILL_SECONDS).min(BURST_MAX);
        *at = now;
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }

    /// The message to file the event under: its own, or the combined one when too many similar ones came.
    fn message(&mut self, similar: &Similar, message: &str, now: Timestamp) -> String {
        use std::hash::{DefaultHasher, Hasher};
        trim(&mut self.similar, |(_, at)| *at);
        let mut hasher = DefaultHasher::new();
        hasher.write(message.as_bytes());
        let (messages, at) = self.similar.entry(similar.clone()).or_insert((Vec::new(), now));
        if now.duration_since(*at) > SIMILAR_WINDOW.try_into().expect("ten minutes fit") {
            messages.clear();
        }
        *at = now;
        let hash = hasher.finish();
        if !messages.contains(&hash) {
            if messages.len() >= SIMILAR_MAX {
                return format!("(combined from similar events): {message}");
            }
            messages.push(hash);
        }
        message.to_owned()
    }
}

/// Forgets the oldest half when a memory grew too large.
fn trim<K: Clone + Eq + std::hash::Hash, V>(memory: &mut HashMap<K, V>, at: impl Fn(&V) -> Timestamp) {
    if memory.len() < SERIES_MAX {
        return;
    }
    let mut times: Vec<Timestamp> = memory.values().map(&at).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    memory.retain(|_, value| at(value) > middle);
}

async fn write_all(client: Client, source: EventSource, mut waiting: mpsc::Receiver<Note>) {
    let (mut memory, source) = (Memory::default(), Arc::new(source));
    while let Some(note) = waiting.recv().await {
        let object = format!(
            "{}/{}/{}/{}",
            note.object.kind.as_deref().unwrap_or_default(),
            note.object.namespace.as_deref().unwrap_or_default(),
            note.object.name.as_deref().unwrap_or_default(),
            note.object.uid.as_deref().unwrap_or_default()
        );
        if !memory.allow(&object, note.at) {
            continue;
        }
        if let Err(error) = write(&client, &source, &mut memory, object, &note).await {
            tracing::debug!(reason = note.reason, %error, "event not written");
        }
    }
}

async fn write(
    client: &Client,
    source: &EventSource,
    memory: &mut Memory,
    object: String,
    note: &Note,
) -> Result<(), machinery::ApiError> {
    let field = note.object.field_path.clone().unwrap_or_default();
    let similar = Similar { object: object + &field, kind: note.kind, reason: note.reason.clone() };
    let message = memory.message(&similar, &note.message, note.at);
    let combined = message != note.message;
    // A combined series is one event whose message is replaced, so its key must not hold the message.
    let key = (similar, if combined { String::new() } else { message.clone() });
    trim(&mut memory.series, |series| series.last);
    if let Some(series) = memory.series.get_mut(&key) {
        series.count += 1;
        series.last = note.at;
        let mut patch = Value::object();
        patch.set_at(&["count"], series.count);
        patch.set_at(&["message"], message.clone());
        patch.set_at(&["lastTimestamp"], note.at.to_string());
        let api = Api::<Event>::namespaced(client, &series.namespace);
        match api.patch(&series.name, PatchKind::Merge, patch).await {
            Err(e) if e.is_not_found() => {}
            other => return other.map(|_| ()),
        }
    }
    let event = event_of(source, note, message);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let made = Api::<Event>::namespaced(client, &namespace).create(&event).await?;
    let name = made.metadata.name.clone().unwrap_or_default();
    memory.series.insert(key, Series { name, namespace, count: 1, last: note.at });
    Ok(())
}

fn event_of(source: &EventSource, note: &Note, message: String) -> Event {
    let about = note.object.name.as_deref().unwrap_or_default();
    let namespace = note.object.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{:x}", note.stamp)),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: note.object.clone(),
        type_: Some(note.kind.as_str().to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(message),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        ..Event::default()
    }
}

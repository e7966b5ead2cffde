//! From FlowSchema and PriorityLevelConfiguration objects to what requests are asked against; the schemas' `Dangling`
//! conditions; seats that levels lend each other.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use client::{Action, Backend, Options, PatchKind, Request, User};
use futures_util::future::join_all;
use machinery::object::ObjectExt;
use machinery::{Entry, GroupVersionResource, Value, time};

use super::classify::{Counts, Schema};
use super::level::Level;
use super::limits::{Bounds, Demand, Share, Wish, allocate, bounds};
use super::queues::Shape;
use super::{Flow, Snapshot};
use crate::pipeline::Pipeline;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// The mandatory levels and schemas are called so.
const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
/// Who writes conditions, as upstream's server calls itself.
const FIELD_MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// Time between looks at what levels want (upstream integrates over every change instead).
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);
/// Looks after which seats are given out anew: upstream's ten seconds.
const SAMPLES_PER_ADJUSTMENT: u32 = 10;
/// How much of a level's seats one request may take, in percent.
const REQUEST_SEATS_PERCENT: u32 = 15;

/// What is known of the levels beyond what requests need.
pub(super) struct Book {
    server_seats: u32,
    levels: HashMap<String, State>,
    counts: HashMap<String, Arc<Counts>>,
}

struct State {
    level: Arc<Level>,
    bounds: Bounds,
    demand: Demand,
    peak: u32,
}

/// A condition that a schema should have.
pub(super) struct Dangling {
    name: String,
    is_dangling: bool,
    level: String,
}

impl Book {
    pub(super) fn new(server_seats: u32) -> Self {
        Self { server_seats, levels: HashMap::new(), counts: HashMap::new() }
    }

    /// Takes a new configuration over. Mandatory objects that are missing are made up. Gives what requests are asked
    /// against from now on, and the conditions that are not as they should be.
    pub(super) fn digest(&mut self, levels: &[&Value], schemas: &[&Value]) -> (Snapshot, Vec<Dangling>) {
        let (made_up_levels, made_up_schemas) = mandatory();
        let levels = with_missing(levels, &made_up_levels);
        self.take_levels(&levels);
        let uids: HashMap<&str, &str> = levels.iter().map(|level| (level.name(), level.uid())).collect();

        let mut conditions = Vec::new();
        let mut known: Vec<Arc<Schema>> = Vec::new();
        for object in with_missing(schemas, &made_up_schemas) {
            let level = object.str_at(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default();
            let state = self.levels.get(level);
            let wanted =
                Dangling { name: object.name().to_owned(), is_dangling: state.is_none(), level: level.to_owned() };
            if !object.uid().is_empty() && !wanted.is_told(object) {
                conditions.push(wanted);
            }
            let Some(state) = state else { continue };
            let counts = self.counts.entry(object.name().to_owned()).or_default().clone();
            let uid = uids.get(level).copied().unwrap_or_default();
            known.push(Arc::new(Schema::new(object, state.level.clone(), uid, counts)));
        }
        known.sort_by(|one, other| one.rank().cmp(&other.rank()));
        let catch_all = known.iter().find(|schema| schema.name == CATCH_ALL);
        let catch_all = catch_all.expect("what is mandatory and missing was made up").clone();
        self.counts.retain(|name, _| known.iter().any(|schema| schema.name == *name));
        let mut levels: Vec<Arc<Level>> = self.levels.values().map(|state| state.level.clone()).collect();
        levels.sort_by(|one, other| one.name.cmp(&other.name));
        (Snapshot { schemas: known, catch_all, levels }, conditions)
    }

    /// Levels that stay keep their seats and queues.
    fn take_levels(&mut self, objects: &[&Value]) {
        self.levels.retain(|name, _| objects.iter().any(|object| object.name() == name));
        let shares: Vec<Share> = objects.iter().map(|object| share(object)).collect();
        for (object, bounds) in objects.iter().zip(bounds(self.server_seats, &shares)) {
            let is_exempt = object.str_at(&["spec", "type"]) == Some("Exempt");
            let shape = shape(object);
            let state = self.levels.entry(object.name().to_owned()).or_insert_with(|| State {
                level: Level::new(object.name(), is_exempt),
                bounds,
                demand: Demand::default(),
                peak: 0,
            });
            state.bounds = bounds;
            state.level.shape(shape);
            state.level.seats_max.store(request_seats_max(bounds.nominal, shape), Ordering::Relaxed);
        }
        self.adjust();
    }

    /// Looks at what the levels want right now.
    fn sample(&mut self) {
        for state in self.levels.values_mut() {
            state.demand.sample(state.level.demand());
        }
    }

    /// Gives the seats out anew, by what was wanted since the last time.
    fn adjust(&mut self) {
        let mut limited = Vec::new();
        let (mut wishes, mut exempt, mut seats) = (Vec::new(), 0, 0);
        for state in self.levels.values_mut() {
            state.peak = state.level.take_peak();
            let smoothed = state.demand.smooth();
            seats += state.bounds.nominal;
            if state.level.is_exempt {
                exempt += state.bounds.least.max(state.peak);
            } else {
                wishes.push(Wish { bounds: state.bounds, peak: state.peak, smoothed });
                limited.push(state.level.clone());
            }
        }
        for (level, limit) in limited.iter().zip(allocate(seats, exempt, &wishes)) {
            if level.limit() != limit {
                level.set_limit(limit);
            }
        }
    }
}

/// The objects that there are, and those that must be and are missing.
fn with_missing<'a>(objects: &[&'a Value], mandatory: &[&'a Value]) -> Vec<&'a Value> {
    let missing = mandatory.iter().filter(|must| !objects.iter().any(|object| object.name() == must.name()));
    objects.iter().chain(missing).copied().collect()
}

/// The levels and the schemas that must be.
fn mandatory() -> (Vec<&'static Value>, Vec<&'static Value>) {
    let all = || resources::bootstrap::wanted().iter().map(|wanted| &wanted.object);
    let of = |kind: &str| {
        let mine = all().filter(|object| object.str_at(&["kind"]) == Some(kind));
        mine.filter(|object| matches!(object.name(), EXEMPT | CATCH_ALL)).collect()
    };
    (of("PriorityLevelConfiguration"), of("FlowSchema"))
}

fn number(tree: &Value, path: &[&str]) -> Option<u32> {
    tree.i64_at(path).and_then(|number| u32::try_from(number).ok())
}

fn share(object: &Value) -> Share {
    let spec = |field: &str| {
        let limited = number(object, &["spec", "limited", field]);
        limited.or_else(|| number(object, &["spec", "exempt", field]))
    };
    Share {
        shares: spec("nominalConcurrencyShares").unwrap_or(0),
        lendable_percent: spec("lendablePercent").unwrap_or(0).min(100),
        borrowing_percent: spec("borrowingLimitPercent"),
    }
}

fn shape(object: &Value) -> Shape {
    let queuing = |field: &str| number(object, &["spec", "limited", "limitResponse", "queuing", field]).unwrap_or(0);
    let queues = queuing("queues");
    Shape {
        queues,
        hand: queuing("handSize").clamp(1, queues.max(1)),
        length_max: usize::try_from(queuing("queueLengthLimit")).unwrap_or(usize::MAX),
    }
}

/// Seats that one request may take of a level with queues; others do not say.
fn request_seats_max(nominal: u32, shape: Shape) -> u32 {
    match shape.queues {
        0 => 0,
        _ => (nominal.saturating_mul(REQUEST_SEATS_PERCENT)).div_ceil(100).min(nominal / shape.hand).max(1),
    }
}

impl Dangling {
    fn status(&self) -> &'static str {
        if self.is_dangling { "True" } else { "False" }
    }

    fn reason(&self) -> &'static str {
        if self.is_dangling { "NotFound" } else { "Found" }
    }

    fn message(&self) -> String {
        let end = if self.is_dangling { "but there is no such object" } else { "and it exists" };
        format!("This FlowSchema references the PriorityLevelConfiguration object named {:?} {end}", self.level)
    }

    /// Whether an object has the condition already.
    fn is_told(&self, object: &Value) -> bool {
        let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|condition| {
            condition.str_at(&["type"]) == Some("Dangling")
                && condition.str_at(&["status"]) == Some(self.status())
                && condition.str_at(&["reason"]) == Some(self.reason())
                && condition.str_at(&["message"]) == Some(self.message().as_str())
        })
    }

    /// The request that writes it.
    fn request(&self) -> Request {
        let mut condition = Value::object();
        condition.set_at(&["type"], "Dangling");
        condition.set_at(&["status"], self.status());
        condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now_seconds()));
        condition.set_at(&["reason"], self.reason());
        condition.set_at(&["message"], self.message());
        let mut object = Value::object();
        object.set_at(&["apiVersion"], format!("{GROUP}/v1"));
        object.set_at(&["kind"], "FlowSchema");
        object.set_at(&["metadata", "name"], self.name.as_str());
        object.set_at(&["status", "conditions"], vec![condition]);
        Request {
            action: Action::Patch(PatchKind::Apply, object),
            resource: GroupVersionResource::new(GROUP, "v1", "flowschemas"),
            namespace: None,
            name: Some(self.name.clone()),
            subresource: Some("status".to_owned()),
            options: Options { field_manager: FIELD_MANAGER.to_owned(), force: true, ..Options::default() },
        }
    }
}

impl Flow {
    /// Takes over what is stored now, and tells the schemas whether their levels exist.
    async fn follow(&self, pipeline: &Pipeline) {
        let entries = |plural: &str| -> Vec<Arc<Entry>> {
            let kind = pipeline.kinds.get(GROUP, "v1", plural);
            let stretch = kind.map(|kind| kind.cache.stretch(&kind.cache.prefix, None, 0)).unwrap_or_default();
            stretch.items.into_iter().map(|(_, entry)| entry).collect()
        };
        let (levels, schemas) = (entries("prioritylevelconfigurations"), entries("flowschemas"));
        let trees =
            |entries: &'_ [Arc<Entry>]| -> Vec<Arc<Value>> { entries.iter().map(|e| e.tree().clone()).collect() };
        let (levels, schemas) = (trees(&levels), trees(&schemas));
        let levels: Vec<&Value> = levels.iter().map(AsRef::as_ref).collect();
        let schemas: Vec<&Value> = schemas.iter().map(AsRef::as_ref).collect();
        let conditions = {
            let mut book = self.book();
            let (snapshot, conditions) = book.digest(&levels, &schemas);
            self.snapshot.store(Arc::new(snapshot));
            conditions
        };
        let user = User::component("system:apiserver", &["system:masters"]);
        let writes = conditions.iter().map(|condition| pipeline.call(&user, condition.request()));
        for (condition, written) in conditions.iter().zip(join_all(writes).await) {
            match written {
                // The next change brings it here again.
                Err(error) if !error.is_not_found() && !error.is_conflict() => {
                    tracing::warn!(schema = condition.name, %error, "the condition of a flow schema was not written");
                }
                _ => {}
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes over what is stored, and follows it until the pipeline ends.
pub(crate) async fn start(pipeline: &Arc<Pipeline>) {
    let caches: Vec<_> = ["prioritylevelconfigurations", "flowschemas"]
        .iter()
        .filter_map(|plural| pipeline.kinds.get(GROUP, "v1", plural))
        .map(|kind| kind.cache.clone())
        .collect();
    let [levels, schemas] = caches.as_slice() else { return };
    let (mut levels, mut schemas) = (levels.subscribe(), schemas.subscribe());
    pipeline.flow.follow(pipeline).await;
    let weak = Arc::downgrade(pipeline);
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = levels.changed() => changed,
                changed = schemas.changed() => changed,
            };
            let (Ok(()), Some(pipeline)) = (changed, weak.upgrade()) else { return };
            pipeline.flow.follow(&pipeline).await;
        }
    });
    tokio::spawn(adjust(Arc::downgrade(pipeline)));
}

/// Lets levels lend and borrow by what they want.
async fn adjust(pipeline: Weak<Pipeline>) {
    for sample in (1..=SAMPLES_PER_ADJUSTMENT).cycle() {
        tokio::time::sleep(SAMPLE_PERIOD).await;
        let Some(pipeline) = pipeline.upgrade() else { return };
        let mut book = pipeline.flow.book();
        book.sample();
        if sample == SAMPLES_PER_ADJUSTMENT {
            book.adjust();
        }
    }
}

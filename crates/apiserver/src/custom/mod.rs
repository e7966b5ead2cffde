//! Custom resources in service: each version of a definition is a row made at run time, with the cache that its versions
//! share.

pub(crate) mod keeper;

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value};
use resources::Resource;
use tokio::sync::watch;

use crate::cache::caches::Caches;
use crate::kind::Kind;
use crate::verbs::Call;

/// The group of definitions.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
/// The plural of definitions.
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// What a kind knows of its definition.
pub(crate) struct Custom {
    /// The name of the definition.
    pub definition: String,
    /// Objects of later revisions are stored in this version's form, pruned and with their defaults; none when there are
    /// several versions.
    pub fresh_after: Option<u64>,
    /// Dropped with the kind, once nobody works with it any more: watches of it end.
    in_service: watch::Sender<()>,
}

impl Custom {
    /// Resolves when the kind is out of service.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut in_service = self.in_service.subscribe();
        async move { while in_service.changed().await.is_ok() {} }
    }
}

/// A definition in service.
pub(crate) struct Defined {
    /// What its kinds are made of.
    made_of: MadeOf,
    /// One for each version that is served.
    pub kinds: Vec<Arc<Kind>>,
    /// First part of its objects' keys.
    pub storage: String,
}

/// Digest of what kinds are made of. They are made anew when it changes, as upstream does.
type MadeOf = [u8; 32];

fn made_of(definition: &Value) -> MadeOf {
    let mut text = definition.uid().as_bytes().to_vec();
    for part in [definition.get("spec"), definition.at(&["status", "acceptedNames"])] {
        part.unwrap_or(&Value::Null).write(&mut text);
    }
    let mut made_of = MadeOf::default();
    made_of.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &text).as_ref());
    made_of
}

impl Defined {
    /// What a definition puts in service; `known` when that does not change.
    pub(crate) fn of(entry: &Entry, known: Option<&Arc<Self>>, caches: &Caches) -> Option<Arc<Self>> {
        let definition = entry.tree();
        if !is_served(definition) {
            return None;
        }
        let made_of = made_of(definition);
        if let Some(known) = known.filter(|known| known.made_of == made_of) {
            return Some(known.clone());
        }
        let rows: Vec<Arc<Resource>> = resources::custom::rows(definition).into_iter().map(Arc::new).collect();
        let storage = rows.first()?.storage.clone();
        let versions = definition.at(&["spec", "versions"]).and_then(Value::as_array).map_or(0, Vec::len);
        let cache = caches.open(&storage);
        let kind = |row: &Arc<Resource>| {
            let custom = Custom {
                definition: definition.name().to_owned(),
                fresh_after: (versions == 1).then_some(entry.revision),
                in_service: watch::Sender::new(()),
            };
            Arc::new(Kind::made(row, cache.clone(), custom))
        };
        Some(Arc::new(Self { made_of, kinds: rows.iter().map(kind).collect(), storage }))
    }
}

/// Whether the objects of a definition are served.
fn is_served(definition: &Value) -> bool {
    has_condition(definition, "Established")
}

/// Whether a condition of a definition is true.
pub(crate) fn has_condition(definition: &Value, name: &str) -> bool {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array);
    let is = |condition: &&Value| condition.str_at(&["type"]) == Some(name);
    let found = conditions.and_then(|all| all.iter().find(is));
    found.is_some_and(|condition| condition.str_at(&["status"]) == Some("True"))
}

/// Nothing new is made of what is on its way out.
pub(crate) fn refuse_when_terminating(call: &Call<'_>) -> Result<(), ApiError> {
    let Some(custom) = &call.kind.custom else { return Ok(()) };
    let definition = call.pipeline.kinds.get(GROUP, "v1", PLURAL).and_then(|kind| kind.find("", &custom.definition));
    if definition.is_some_and(|entry| has_condition(entry.tree(), "Terminating")) {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::MethodNotAllowed(message.to_owned()));
    }
    Ok(())
}

/// All definitions in service, by name.
pub(crate) struct Definitions {
    by_name: BTreeMap<String, Arc<Defined>>,
    /// All rows in service: the built-in ones first, the others by group.
    pub rows: Arc<[Arc<Resource>]>,
}

impl Definitions {
    pub(crate) fn new(fixed: &[Arc<Resource>], by_name: BTreeMap<String, Arc<Defined>>) -> Self {
        let mut made: Vec<&Arc<Resource>> =
            by_name.values().flat_map(|defined| defined.kinds.iter().map(|kind| &kind.row)).collect();
        made.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
        let rows = fixed.iter().chain(made).cloned().collect();
        Self { by_name, rows }
    }

    /// A definition by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Defined>> {
        self.by_name.get(name)
    }

    /// A definition by its resource.
    pub(crate) fn of_resource(&self, group: &str, plural: &str) -> Option<&Arc<Defined>> {
        if self.by_name.is_empty() {
            return None;
        }
        self.get(&format!("{plural}.{group}"))
    }

    /// The same with one changed.
    pub(crate) fn with(&self, name: &str, defined: Option<Arc<Defined>>) -> BTreeMap<String, Arc<Defined>> {
        let mut by_name = self.by_name.clone();
        match defined {
            Some(defined) => by_name.insert(name.to_owned(), defined),
            None => by_name.remove(name),
        };
        by_name
    }
}

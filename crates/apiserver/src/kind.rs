//! A row in service: with its cache, its schema and its field management.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::apply::{FieldManagement, Versions};
use machinery::schema::{self, Schema, Type};
use machinery::{ApiError, Entry, GroupResource, Value};
use resources::{Resource, Subresource};

use crate::cache::Cache;
use crate::cache::envelope::Sealer;
use crate::cache::watching::Present;

/// One row in service.
pub(crate) struct Kind {
    pub row: Arc<Resource>,
    pub cache: Arc<Cache>,
    pub resource: GroupResource,
    pub api_version: String,
    pub ty: Option<&'static Type>,
    /// Of the object itself (the empty name), and of subresources that write into it.
    fields: Vec<(&'static str, FieldManagement)>,
    /// Whether the stored form is another one.
    pub converts: bool,
}

/// All rows in service.
pub(crate) struct Kinds {
    by_plural: HashMap<String, Vec<Arc<Kind>>>,
    pub rows: Vec<Arc<Resource>>,
    /// By storage name.
    pub caches: HashMap<String, Arc<Cache>>,
}

impl Kinds {
    pub(crate) fn new(rows: Vec<Arc<Resource>>, sealer: Option<Sealer>) -> Self {
        let sealer = sealer.map(Arc::new);
        let mut caches: HashMap<String, Arc<Cache>> = HashMap::new();
        let mut by_plural: HashMap<String, Vec<Arc<Kind>>> = HashMap::new();
        for row in &rows {
            let known = caches.get(&row.storage).cloned();
            let converts = known.is_some();
            let sealer = sealer.clone().filter(|_| row.group.is_empty() && row.plural == "secrets");
            let cache = known.unwrap_or_else(|| Arc::new(Cache::new(&row.storage, sealer)));
            cache.hold(row);
            if row.stored {
                caches.insert(row.storage.clone(), cache.clone());
            }
            by_plural.entry(row.plural.clone()).or_default().push(Arc::new(Kind::new(row, cache, converts)));
        }
        Self { by_plural, rows, caches }
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let kinds = self.by_plural.get(plural)?;
        kinds.iter().find(|kind| kind.row.group == group && kind.row.version == version)
    }

    /// Any kind.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.get(group, version, plural).cloned()
    }

    /// All rows.
    pub(crate) fn rows(&self) -> &[Arc<Resource>] {
        &self.rows
    }

    /// The versions of a resource, under all of its names.
    pub(crate) fn versions_of(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let all = self.by_plural.get(&kind.row.plural).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|other| other.row.storage == kind.row.storage).cloned().collect()
    }

    /// How many objects a resource has, and their bytes together; none when it is not served.
    pub(crate) fn volume(&self, group: &str, plural: &str) -> Option<(u64, u64)> {
        let kind = self.by_plural.get(plural)?.iter().find(|kind| kind.row.group == group)?;
        Some(kind.cache.volume())
    }

    /// A kind of the core group, which every cluster has.
    pub(crate) fn core(&self, plural: &str) -> Result<&Arc<Kind>, ApiError> {
        self.get("", "v1", plural).ok_or(ApiError::UnknownPath)
    }
}

impl Kind {
    fn new(row: &Arc<Resource>, cache: Arc<Cache>, converts: bool) -> Self {
        let api_version = row.group_version().to_string();
        let reference = match Schema::builtin(&row.type_name) {
            Some(Schema::Struct(reference, _)) => Some(reference),
            _ => None,
        };
        let managed = |name: &'static str| {
            let fields = FieldManagement::new(reference.clone()?, &api_version, name);
            Some((name, reset_fields(row, name).iter().fold(fields, |fields, path| fields.resetting(&[path]))))
        };
        let fields = WRITTEN_THROUGH.iter().filter(|(_, part)| part.as_ref().is_none_or(|part| row.has(part)));
        let fields = fields.filter_map(|(name, _)| managed(name)).collect();
        Self {
            resource: row.group_resource(),
            ty: schema::lookup(&row.type_name),
            row: row.clone(),
            cache,
            fields,
            converts,
            api_version,
        }
    }

    /// The field management of the object, or of a subresource.
    pub(crate) fn fields(&self, subresource: &str) -> Option<&FieldManagement> {
        self.fields.iter().find(|(name, _)| *name == subresource).map(|(_, fields)| fields)
    }

    /// The other versions of its objects, for those who own fields in them.
    pub(crate) fn versions<'a>(&'a self, kinds: &'a Kinds) -> OtherVersions<'a> {
        OtherVersions { kind: self, kinds }
    }

    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Arc<str> {
        self.row.key(namespace, name).into()
    }

    /// An object as it stands in the cache, in its stored form.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.cache.get(&self.row.key(namespace, name))
    }

    /// A stored object in this version's form.
    pub(crate) fn present(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        if self.converts { convert(&self.row, entry) } else { entry.clone() }
    }

    /// The same of an entry that the caller has for itself.
    pub(crate) fn present_owned(&self, entry: Arc<Entry>) -> Arc<Entry> {
        if self.converts { convert(&self.row, &entry) } else { entry }
    }

    /// The same, to be taken along.
    pub(crate) fn presenter(&self) -> Option<Present> {
        let row = self.row.clone();
        self.converts.then(|| Arc::new(move |entry: &Arc<Entry>| convert(&row, entry)) as Present)
    }
}

/// What writes into an object, and by which subresource.
const WRITTEN_THROUGH: [(&str, Option<Subresource>); 7] = [
    ("", None),
    ("status", Some(Subresource::Status)),
    ("scale", Some(Subresource::Scale)),
    ("ephemeralcontainers", Some(Subresource::EphemeralContainers)),
    ("resize", Some(Subresource::Resize)),
    ("finalize", Some(Subresource::Finalize)),
    ("approval", Some(Subresource::Approval)),
];

/// Fields which writes through a subresource do not change, so that nobody owns them through it (upstream's strategies name
/// them one by one).
fn reset_fields(row: &Resource, subresource: &str) -> &'static [&'static [&'static str]] {
    let has_status = row.has(&Subresource::Status);
    match (row.plural.as_str(), subresource) {
        ("certificatesigningrequests", "") => &[&["spec"], &["status"]],
        ("certificatesigningrequests", "status") => &[&["spec"], &["status", "conditions"]],
        ("certificatesigningrequests", "approval") => &[&["spec"], &["status", "certificate"]],
        ("deployments", "status") => &[&["spec"], &["metadata", "labels"]],
        ("pods", "status") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        (
            "apiservices"
            | "customresourcedefinitions"
            | "flowschemas"
            | "prioritylevelconfigurations"
            | "validatingadmissionpolicies"
            | "volumeattachments",
            "status",
        ) => &[&["metadata"], &["spec"]],
        (_, "status") => &[&["spec"]],
        (_, "" | "finalize" | "resize" | "ephemeralcontainers") if has_status => &[&["status"]],
        _ => &[],
    }
}

/// The other versions in which an object can be had.
pub(crate) struct OtherVersions<'a> {
    kind: &'a Kind,
    kinds: &'a Kinds,
}

impl Versions for OtherVersions<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &FieldManagement)> {
        let all = self.kinds.by_plural.get(&self.kind.row.plural)?;
        let same = |kind: &&Arc<Kind>| kind.api_version == api_version && kind.row.storage == self.kind.row.storage;
        let other = all.iter().find(same)?;
        let mut object = object.clone();
        self.kind.row.strategy.to_storage(&mut object);
        other.row.strategy.from_storage(&mut object);
        Some((object, other.fields("")?))
    }
}

fn convert(row: &Resource, entry: &Arc<Entry>) -> Arc<Entry> {
    let mut tree = Value::clone(entry.tree());
    row.strategy.from_storage(&mut tree);
    Arc::new(Entry::from_tree(entry.revision, Arc::new(tree)))
}

//! A row in service: with its cache, its schema and its field management.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::apply::FieldManagement;
use machinery::schema::{self, Schema, Type};
use machinery::{ApiError, Entry, GroupResource, Value};
use resources::Resource;

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
    /// Of the object itself.
    fields: Option<FieldManagement>,
    /// Of its status.
    status_fields: Option<FieldManagement>,
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
        let managed =
            |subresource: &str| reference.clone().map(|ty| FieldManagement::new(ty, &api_version, subresource));
        let has_status = row.has(&resources::Subresource::Status);
        let fields = managed("").map(|f| if has_status { f.resetting(&[&["status"]]) } else { f });
        let status_fields = managed("status").map(|f| f.resetting(&[&["spec"]]));
        Self {
            resource: row.group_resource(),
            ty: schema::lookup(&row.type_name),
            row: row.clone(),
            cache,
            fields,
            status_fields,
            converts,
            api_version,
        }
    }

    /// The field management of the object, or of a subresource.
    pub(crate) fn fields(&self, subresource: &str) -> Option<&FieldManagement> {
        if subresource == "status" { self.status_fields.as_ref() } else { self.fields.as_ref() }
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

fn convert(row: &Resource, entry: &Arc<Entry>) -> Arc<Entry> {
    let mut tree = Value::clone(entry.tree());
    row.strategy.from_storage(&mut tree);
    Arc::new(Entry::from_tree(entry.revision, Arc::new(tree)))
}

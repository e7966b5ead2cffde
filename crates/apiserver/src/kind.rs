//! A row in service: with its cache, its schema and its field management.

use std::sync::Arc;

use machinery::apply::{FieldManagement, Versions};
use machinery::object::ObjectExt;
use machinery::schema::{self, Schema, Type, TypeRef};
use machinery::{Entry, GroupResource, Value};
use resources::{Resource, Subresource};

use crate::cache::Cache;
use crate::cache::watching::Present;
use crate::custom::Custom;
use crate::kinds::Kinds;

/// One row in service.
pub(crate) struct Kind {
    pub row: Arc<Resource>,
    pub cache: Arc<Cache>,
    pub resource: GroupResource,
    pub api_version: String,
    ty: Option<TypeRef>,
    /// Of the object itself (the empty name), and of subresources that write into it.
    fields: Vec<(&'static str, FieldManagement)>,
    /// What turns the stored form into this version's, when that is another one.
    present: Option<Present>,
    /// Of a custom resource: its definition.
    pub custom: Option<Custom>,
}

impl Kind {
    /// A row of the built-in table. `converts`: whether the stored form is another one.
    pub(crate) fn new(row: &Arc<Resource>, cache: Arc<Cache>, converts: bool) -> Self {
        let converted = row.clone();
        let present = converts.then(|| Arc::new(move |entry: &Arc<Entry>| convert(&converted, entry)) as Present);
        Self::with(row, cache, present, None)
    }

    /// A row that was made at run time.
    pub(crate) fn made(row: &Arc<Resource>, cache: Arc<Cache>, custom: Custom) -> Self {
        let (converted, fresh_after) = (row.clone(), custom.fresh_after);
        let present = move |entry: &Arc<Entry>| match fresh_after {
            Some(revision) if entry.revision > revision => entry.clone(),
            _ => convert(&converted, entry),
        };
        Self::with(row, cache, Some(Arc::new(present)), Some(custom))
    }

    fn with(row: &Arc<Resource>, cache: Arc<Cache>, present: Option<Present>, custom: Option<Custom>) -> Self {
        let api_version = row.group_version().to_string();
        let ty = match (&row.schema, Schema::builtin(&row.type_name)) {
            (Some(made), _) => Some(TypeRef::Owned(made.clone())),
            (None, Some(Schema::Struct(reference, _))) => Some(reference),
            _ => None,
        };
        let managed = |name: &'static str| {
            let fields = FieldManagement::new(ty.clone()?, &api_version, name);
            Some((name, reset_fields(row, name).iter().fold(fields, |fields, path| fields.resetting(&[path]))))
        };
        let fields = WRITTEN_THROUGH.iter().filter(|(_, part)| part.as_ref().is_none_or(|part| row.has(part)));
        let fields = fields.filter_map(|(name, _)| managed(name)).collect();
        Self { resource: row.group_resource(), row: row.clone(), cache, fields, present, custom, ty, api_version }
    }

    /// The type of its objects.
    pub(crate) fn ty(&self) -> Option<&Type> {
        self.ty.as_ref().map(TypeRef::get)
    }

    /// The field management of the object, or of a subresource.
    pub(crate) fn fields(&self, subresource: &str) -> Option<&FieldManagement> {
        self.fields.iter().find(|(name, _)| *name == subresource).map(|(_, fields)| fields)
    }

    /// The other versions of its objects, for those who own fields in them.
    pub(crate) fn versions<'a>(&'a self, kinds: &Kinds) -> OtherVersions<'a> {
        OtherVersions { kind: self, all: kinds.versions_of(self) }
    }

    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Arc<str> {
        self.row.key(namespace, name).into()
    }

    /// An object as it stands in the cache, in its stored form.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.cache.get(&self.row.key(namespace, name))
    }

    /// Brings an object of this version into the stored form.
    pub(crate) fn to_storage(&self, object: &mut Value) {
        self.row.strategy.to_storage(object);
        if self.present.is_some()
            && let Some(ty) = schema::lookup_kind(object.api_version(), object.kind())
        {
            schema::complete(object, ty);
        }
    }

    /// A stored object in this version's form.
    pub(crate) fn present(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        self.present.as_ref().map_or_else(|| entry.clone(), |present| present(entry))
    }

    /// The same of an entry that the caller has for itself.
    pub(crate) fn present_owned(&self, entry: Arc<Entry>) -> Arc<Entry> {
        match &self.present {
            Some(present) => present(&entry),
            None => entry,
        }
    }

    /// The same, to be taken along.
    pub(crate) fn presenter(&self) -> Option<Present> {
        self.present.clone()
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
    all: Vec<Arc<Kind>>,
}

impl Versions for OtherVersions<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &FieldManagement)> {
        let other = self.all.iter().find(|kind| kind.api_version == api_version)?;
        let mut object = object.clone();
        self.kind.row.strategy.to_storage(&mut object);
        other.row.strategy.from_storage(&mut object);
        Some((object, other.fields("")?))
    }
}

/// The entry itself when the two forms are the same.
fn convert(row: &Resource, entry: &Arc<Entry>) -> Arc<Entry> {
    let mut tree = Value::clone(entry.tree());
    row.strategy.from_storage(&mut tree);
    row.complete(&mut tree);
    if tree == **entry.tree() {
        return entry.clone();
    }
    Arc::new(Entry::from_tree(entry.revision, Arc::new(tree)))
}

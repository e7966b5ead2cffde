//! The shape of a row.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::gvk::{GroupResource, GroupVersion, GroupVersionKind};
use machinery::json::Value;
use machinery::schema::{self, Text, Type};

/// One resource in one version.
pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Kind of its objects.
    pub kind: String,
    /// Kind of its lists.
    pub list_kind: String,
    /// Plural, as in paths.
    pub plural: String,
    /// Singular, as kubectl accepts it.
    pub singular: String,
    /// Short names, as kubectl accepts them.
    pub short_names: Vec<Text>,
    /// `all` and the like.
    pub categories: Vec<Text>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Name of the object's type: in the schema table, or in OpenAPI when the row has its own `schema`.
    pub type_name: String,
    /// The type of the objects of a row made at run time; without it, the one that `type_name` names in the table.
    pub schema: Option<Arc<Type>>,
    /// The first part of storage keys, `/registry/{storage}/…`. Two versions or groups of one resource share it.
    pub storage: String,
    /// What can be done with the resource itself.
    pub verbs: Vec<Verb>,
    /// What can be done below an object.
    pub subresources: Vec<Subresource>,
    /// Where `scale` finds its numbers.
    pub scale: ScalePaths,
    /// Columns of server-side tables after Name, unless one of them is called Name (events); see [`Resource::all_columns`].
    pub columns: Vec<Column>,
    /// Fields that field selectors may name, besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: Vec<SelectableField>,
    /// Whether `metadata.generation` counts changes of what the user wants.
    pub has_generation: bool,
    /// Whether deletion waits for a grace period (pods): the strategy says how long.
    pub graceful_deletion: bool,
    /// Whether objects are kept. Rows that are not stored (reviews) only answer `create`, computed by the API server.
    pub stored: bool,
    /// Objects that are always there, and are neither stored nor changed.
    pub fixed: Vec<Value>,
    /// What clients of a version made at run time are warned of; [`Resource::deprecation`] knows those of the table.
    pub deprecated: Option<String>,
    /// What is particular to it.
    pub strategy: Box<dyn Strategy>,
}

/// What can be done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the API's own verbs")]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// All of them: what most resources offer.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// As discovery and authorization write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// A subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subresource {
    /// `status`: the object with only its status (and some metadata) writable.
    Status,
    /// `scale`: `autoscaling/v1` Scale.
    Scale,
    /// `binding` of pods.
    Binding,
    /// `eviction` of pods.
    Eviction,
    /// `ephemeralcontainers` of pods.
    EphemeralContainers,
    /// `resize` of pods.
    Resize,
    /// `log` of pods.
    Log,
    /// `exec` of pods.
    Exec,
    /// `attach` of pods.
    Attach,
    /// `portforward` of pods.
    PortForward,
    /// `proxy` of pods, services and nodes.
    Proxy,
    /// `finalize` of namespaces.
    Finalize,
    /// `token` of service accounts.
    Token,
    /// `approval` of certificate signing requests.
    Approval,
}

/// One column of a server-side table (`metav1.TableColumnDefinition`).
#[derive(Clone)]
pub struct Column {
    /// Header.
    pub name: Text,
    /// `string`, `integer`, `number`, `date`, `boolean`
    pub kind: Text,
    /// `name` or empty.
    pub format: Text,
    /// What it shows.
    pub description: Text,
    /// 0 is always shown; above 0 only by `-o wide`.
    pub priority: i32,
    /// How the cell of an object is made.
    pub cell: Cell,
}

/// How a column's cells are made.
#[derive(Clone)]
pub enum Cell {
    /// By a function of the object and the moment (ages are relative).
    Function(fn(&Value, Timestamp) -> Value),
    /// By one that was made at run time.
    Made(Arc<MadeCell>),
}

/// A cell's function that was made at run time.
pub type MadeCell = dyn Fn(&Value, Timestamp) -> Value + Send + Sync;

impl Cell {
    /// The cell of an object at a moment.
    pub fn of(&self, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::Function(cell) => cell(object, now),
            Self::Made(cell) => cell(object, now),
        }
    }
}

/// A field that field selectors may name.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// As in selectors: `spec.nodeName`.
    pub name: Text,
    /// How its value is found in an object.
    pub value: FieldValue,
}

/// How the value of a selectable field is found.
#[derive(Clone, Debug)]
pub enum FieldValue {
    /// By a function; empty when unset.
    Function(fn(&Value) -> String),
    /// At a path of keys.
    Path(Arc<[String]>),
}

impl FieldValue {
    /// The value in an object; empty when unset.
    pub fn of(&self, object: &Value) -> String {
        match self {
            Self::Function(value) => value(object),
            Self::Path(path) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                crate::read::selectable(object, &path)
            }
        }
    }
}

/// Paths of keys at which `scale` finds the numbers of replicas. The selector is the strategy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Of the wanted number.
    pub spec_replicas: Vec<Text>,
    /// Of the observed number.
    pub status_replicas: Vec<Text>,
}

impl Default for ScalePaths {
    fn default() -> Self {
        let path = |first| vec![Cow::Borrowed(first), Cow::Borrowed("replicas")];
        Self { spec_replicas: path("spec"), status_replicas: path("status") }
    }
}

/// What a write is about to do, for hooks that differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The object itself.
    Object,
    /// A subresource that writes into the object.
    Subresource(&'static str),
}

/// What is particular to a resource. The pipeline does what all have in common (metadata, names, generation, status
/// isolation, finalizers) and calls these in the order in which they stand here.
pub trait Strategy: Send + Sync {
    /// Fills in defaults. Called on every decoded body; must be idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Puts server-owned fields of a new object right. Its metadata (name, namespace, uid, creationTimestamp) is complete, and its
    /// status is empty if it has a subresource for it.
    fn prepare_for_create(&self, _object: &mut Value) {}

    /// Puts server-owned fields of a changed object right; `old` is what is stored.
    fn prepare_for_update(&self, _object: &mut Value, _old: &Value, _target: Target) {}

    /// Whether the part that users own changed (then generation grows). By default: everything but metadata and status.
    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        let (Some(new), Some(old)) = (object.as_object(), old.as_object()) else { return false };
        let skip = |key: &str| matches!(key, "metadata" | "status" | "apiVersion" | "kind");
        new.iter().filter(|(k, _)| !skip(k)).ne(old.iter().filter(|(k, _)| !skip(k)))
    }

    /// All that is wrong with a new object, besides its metadata (which is checked for all alike).
    fn validate(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// All that is wrong with a change (immutable fields, forbidden transitions, and what [`Strategy::validate`] checks).
    fn validate_update(&self, object: &Value, _old: &Value, _target: Target) -> Vec<FieldError> {
        self.validate(object)
    }

    /// How names of this kind must look.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Seconds that deletion waits, from what the caller asked for and the object (pods). 0 deletes at once.
    fn grace_period_seconds(&self, _object: &Value, asked: Option<i64>) -> i64 {
        asked.unwrap_or(0)
    }

    /// Warnings for the client about a new or changed object (deprecated fields and the like).
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// From this version's form to the stored one, and back; the identity where both are the same.
    fn to_storage(&self, _object: &mut Value) {}

    /// From the stored form to this version's.
    #[allow(clippy::wrong_self_convention, reason = "the object is converted, not the strategy")]
    fn from_storage(&self, _object: &mut Value) {}

    /// Whether an update may create the object (upstream's AllowCreateOnUpdate; leases, endpoints …).
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether what an object owns is orphaned by a deletion that does not say what becomes of it (jobs).
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// Whether an update without resourceVersion overwrites (upstream's AllowUnconditionalUpdate).
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Fields of metadata that a write of the status leaves as they are. Most resources of upstream take labels, annotations
    /// and all else of a status write; some keep one field, and the newer ones all of [`STATUS_KEEPS_ALL`].
    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a new object keeps the status that its maker gives it (nodes).
    fn keeps_status_at_create(&self) -> bool {
        false
    }

    /// Finalizers that every new object gets (`kubernetes` of namespaces lives in spec and is set in prepare_for_create).
    fn initial_finalizers(&self) -> &'static [&'static str] {
        &[]
    }

    /// The label selector of `scale`, as text (`status.selector` of the Scale), by object.
    fn scale_selector(&self, _object: &Value) -> String {
        String::new()
    }
}

/// What upstream's `ResetObjectMetaForStatus` keeps.
pub const STATUS_KEEPS_ALL: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences"];

/// How names of a kind must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain (most).
    Subdomain,
    /// RFC 1123 label (namespaces).
    Label,
    /// Any path segment (RBAC).
    PathSegment,
    /// An IP address as it is written canonically (IPAddress).
    IpAddress,
    /// A key of a config map (LeaseCandidate).
    ConfigMapKey,
}

impl Resource {
    /// `deployments.apps`
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.as_str().into(), resource: self.plural.as_str().into() }
    }

    /// `apps/v1`
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(self.group.as_str(), self.version.as_str())
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.as_str(), self.version.as_str(), self.kind.as_str())
    }

    /// The name of the type that upstream's server holds its objects in: `core.Pod`, `unstructured.Unstructured`.
    pub fn internal_go_name(&self) -> String {
        let package = match self.group.as_str() {
            "" | "events.k8s.io" => "core",
            group => group.split('.').next().unwrap_or_default(),
        };
        if self.schema.is_some() { "unstructured.Unstructured".to_owned() } else { format!("{package}.{}", self.kind) }
    }

    /// Whether it offers a subresource.
    pub fn has(&self, subresource: &Subresource) -> bool {
        self.subresources.contains(subresource)
    }

    /// Fills in defaults, and what is always there.
    pub fn default(&self, object: &mut Value) {
        self.strategy.default(object);
        self.complete(object);
    }

    /// Fills in what Go's encoder always writes (`status: {}`, `rules: null`).
    pub fn complete(&self, object: &mut Value) {
        if let Some(ty) = schema::lookup(&self.type_name).filter(|_| self.schema.is_none()) {
            schema::complete(object, ty);
        }
    }

    /// The storage key of an object, or of all (in a namespace) with an empty name: `/registry/pods/default/web-1`.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        match (self.namespaced, namespace.is_empty()) {
            (true, false) => format!("/registry/{}/{namespace}/{name}", self.storage),
            _ => format!("/registry/{}/{name}", self.storage),
        }
    }
}

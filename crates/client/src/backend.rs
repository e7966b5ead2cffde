//! The seam between typed handles and whatever answers them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use machinery::json::Value;
use machinery::{ApiError, Entry, GroupVersionResource};

/// Who asks: an authenticated user (`authentication.k8s.io` UserInfo).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct User {
    /// `system:kube-scheduler`
    pub name: String,
    /// Empty for certificates.
    pub uid: String,
    /// `system:authenticated` …
    pub groups: Vec<String>,
    /// Further facts, such as the pod that a token is bound to.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// A component's upstream identity, authenticated.
    pub fn component(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        Self { name: name.to_owned(), groups, ..Self::default() }
    }
}

/// One request on a resource.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// On which resource.
    pub resource: GroupVersionResource,
    /// In which namespace; `None` is cluster scope, or all namespaces for lists and watches.
    pub namespace: Option<String>,
    /// Which object.
    pub name: Option<String>,
    /// Which part of it.
    pub subresource: Option<String>,
    /// How.
    pub options: Options,
}

/// What to do, with what.
#[derive(Debug, Clone)]
pub enum Action {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Make one.
    Create(Value),
    /// Replace one.
    Update(Value),
    /// Change one.
    Patch(PatchKind, Value),
    /// Delete one.
    Delete(DeleteOptions),
    /// Delete many.
    DeleteCollection(DeleteOptions),
}

/// Which patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    StrategicMerge,
    /// `application/apply-patch+yaml`
    Apply,
}

/// Options of reads and writes (`metav1.ListOptions`, `CreateOptions` …).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Label selector, as in a URL.
    pub label_selector: String,
    /// Field selector, as in a URL.
    pub field_selector: String,
    /// Of reads: how fresh.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
    /// Page size; 0 is all.
    pub limit: u64,
    /// Where the page before ended.
    pub continue_token: String,
    /// Of watches: seconds after which they end.
    pub timeout_seconds: Option<u64>,
    /// Of watches: send bookmarks.
    pub allow_watch_bookmarks: bool,
    /// Of watches: send what is there first, then a bookmark.
    pub send_initial_events: Option<bool>,
    /// Of writes: do all but store.
    pub dry_run: bool,
    /// Of writes: who owns the fields.
    pub field_manager: String,
    /// Of writes: `Ignore`, `Warn`, `Strict` or empty.
    pub field_validation: String,
    /// Of apply: take fields from other managers.
    pub force: bool,
}

/// `metav1.DeleteOptions`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds to wait.
    pub grace_period_seconds: Option<i64>,
    /// Delete only this object.
    pub uid: Option<String>,
    /// Delete only this revision.
    pub resource_version: Option<String>,
    /// `Background`, `Foreground`, `Orphan`.
    pub propagation_policy: Option<String>,
    /// Its predecessor, deprecated; only one of the two may be set.
    pub orphan_dependents: Option<bool>,
}

impl DeleteOptions {
    /// What becomes of dependents, whichever way it was said.
    pub fn policy(&self) -> Option<&str> {
        let old = self.orphan_dependents.map(|orphan| if orphan { "Orphan" } else { "Background" });
        self.propagation_policy.as_deref().or(old)
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The object (read, made, changed, or on its way out).
    Object(Arc<Entry>),
    /// Many objects.
    List(List),
    /// A `metav1.Status`, or an object that is stored nowhere (a Scale, a TokenRequest).
    Value(Value),
}

/// Many objects of one moment.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// The objects.
    pub items: Vec<Arc<Entry>>,
    /// The revision they were read at.
    pub resource_version: u64,
    /// For the next page; empty on the last.
    pub continue_token: String,
    /// How many follow, when known.
    pub remaining: Option<u64>,
}

/// One change that a watch saw.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    /// New, or newly matching.
    Added(Arc<Entry>),
    /// Changed.
    Modified(Arc<Entry>),
    /// Gone, or no longer matching. The last state, at the revision of the deletion.
    Deleted(Arc<Entry>),
    /// All up to this revision was sent; `initial_end` closes the initial events.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether it closes the initial events.
        initial_end: bool,
    },
    /// The watch ends with this.
    Error(ApiError),
}

/// Events in the order of revisions.
pub type Watch = BoxStream<'static, WatchEvent>;

/// Whatever answers requests: the pipeline in process, or a remote API server.
pub trait Backend: Send + Sync + 'static {
    /// Answers one request.
    fn call<'a>(&'a self, user: &'a User, request: Request) -> BoxFuture<'a, Result<Reply, ApiError>>;

    /// Starts a watch; `request.action` is [`Action::List`].
    fn watch<'a>(&'a self, user: &'a User, request: Request) -> BoxFuture<'a, Result<Watch, ApiError>>;
}

//! What comes into the pipeline and what leaves it.

pub(crate) mod decode;
pub(crate) mod list_options;

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use client::{DeleteOptions, Options, PatchKind, Reply, User};
use futures_util::future::BoxFuture;
use machinery::{ApiError, Value};

use crate::audit::Record;

/// What a request is about: what authorization decides on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; or a method in lower case for
    /// paths that name no resource.
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// The plural; empty for paths that name no resource.
    pub resource: String,
    /// What below the object; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster scope, and for all namespaces.
    pub namespace: String,
    /// Empty for lists, and for objects still to be made.
    pub name: String,
    /// The path, when it names no resource.
    pub path: String,
}

/// A request's body.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// As it came over the wire.
    Bytes {
        /// The media type, without parameters. Empty means JSON.
        content_type: String,
        /// The bytes.
        bytes: Bytes,
    },
    /// A tree, from a caller in this process.
    Tree(Value),
}

/// One authenticated request.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// Who asks.
    pub user: User,
    /// What about.
    pub attributes: Attributes,
    /// Whose fields a write sets when it names no field manager: the client's name, as its user agent begins.
    pub agent: String,
    /// How.
    pub options: Options,
    /// Of deletes: the options given as parameters. A `DeleteOptions` body replaces them.
    pub delete: DeleteOptions,
    /// Of patches: which.
    pub patch: Option<PatchKind>,
    /// With what.
    pub body: Body,
    /// What is recorded of it, when somebody listens.
    pub audit: Option<Arc<Record>>,
}

/// An answered request.
#[derive(Debug, Clone)]
pub struct Served {
    /// The answer.
    pub reply: Reply,
    /// HTTP code: 200, 201 or 202.
    pub code: u16,
    /// For the client's `Warning` headers.
    pub warnings: Vec<String>,
}

impl Served {
    pub(crate) fn ok(reply: Reply) -> Self {
        Self { reply, code: 200, warnings: Vec::new() }
    }
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// No; the reason is appended to the message when it is not empty.
    Deny(String),
}

/// Rules of one user, as SelfSubjectRulesReview gives them.
#[derive(Debug, Clone, Default)]
pub struct UserRules {
    /// `ResourceRule`s.
    pub resources: Vec<Value>,
    /// `NonResourceRule`s.
    pub paths: Vec<Value>,
    /// Whether these may not be all.
    pub incomplete: bool,
}

/// Who may do what.
pub trait Authorizer: Send + Sync + 'static {
    /// Decides on one request.
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;

    /// The rules of a user in a namespace.
    fn rules(&self, _user: &User, _namespace: &str) -> UserRules {
        UserRules { incomplete: true, ..UserRules::default() }
    }
}

/// An object by name and UID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A token to be made for a service account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenWanted {
    /// Namespace of the account.
    pub namespace: String,
    /// The account.
    pub service_account: Named,
    /// For whom; empty means the API server.
    pub audiences: Vec<String>,
    /// How long it is good, in seconds.
    pub expiration_seconds: i64,
    /// The pod that it is bound to.
    pub pod: Option<Named>,
    /// The node that it is bound to, or which its pod runs on.
    pub node: Option<Named>,
    /// The secret that it is bound to.
    pub secret: Option<Named>,
}

/// Makes service-account tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Signs a token. Gives it with its audiences.
    fn issue(&self, wanted: &TokenWanted) -> Result<(String, Vec<String>), ApiError>;
}

/// Knows the users of bearer tokens (TokenReview).
pub trait TokenAuthenticator: Send + Sync + 'static {
    /// Whom a token stands for, and for which of the audiences asked for it is good; `None` when nobody is known by it.
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Option<(User, Vec<String>)>>;
}

/// Addresses of services: a network and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCidr {
    /// The network's address.
    pub network: Ipv4Addr,
    /// Length of the prefix, in bits.
    pub prefix_length: u8,
}

/// Where a streaming request goes: a node's or a pod's or a service's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectTarget {
    /// The node that the pod runs on (or which is asked for itself).
    pub node_name: String,
    /// Address of the node's agent; for `proxy` of pods and services, the address to talk to.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// `http` or `https` of a `proxy`.
    pub scheme: String,
    /// Namespace of the pod or service.
    pub namespace: String,
    /// Name of the pod or service.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// The container to use when the request names none: the annotated one, or the first.
    pub container: String,
    /// All containers of the pod, init and ephemeral ones included.
    pub containers: Vec<String>,
}

/// The path of a resource, of its group, version, namespace, plural, name and what is below; parts that are empty are left out.
pub(crate) fn resource_path([group, version, namespace, resource, name, subresource]: [&str; 6]) -> String {
    let mut path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    // A namespace does not lie in itself.
    let namespace = if group.is_empty() && resource == "namespaces" { "" } else { namespace };
    let namespaces = if namespace.is_empty() { "" } else { "namespaces" };
    for part in [namespaces, namespace, resource, name, subresource] {
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    path
}

/// `authentication.k8s.io` UserInfo
pub(crate) fn user_info(user: &User) -> Value {
    let mut info = Value::object();
    info.set_at(&["username"], user.name.as_str());
    if !user.uid.is_empty() {
        info.set_at(&["uid"], user.uid.as_str());
    }
    if !user.groups.is_empty() {
        info.set_at(&["groups"], user.groups.iter().map(String::as_str).collect::<Vec<_>>());
    }
    for (key, values) in &user.extra {
        info.set_at(&["extra", key], values.iter().map(String::as_str).collect::<Vec<_>>());
    }
    info
}

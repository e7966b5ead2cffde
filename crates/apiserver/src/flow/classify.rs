//! Which flow schema a request belongs to: rules in a form that is quick to ask.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use client::User;
use http::HeaderValue;
use machinery::Value;
use machinery::object::ObjectExt;
use ring::digest::{Context, SHA256};

use super::level::Level;
use super::work::ListWork;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What flow control looks at of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// A namespace lies in itself, as its path says.
    pub namespace: &'a str,
    pub name: &'a str,
    /// Of requests that name no resource; else empty.
    pub path: &'a str,
    /// Of lists and watches.
    pub list: ListWork,
}

/// What tells the flows of one schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

/// How often things happened to the requests of one schema.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub dispatched: AtomicU64,
    pub queue_full: AtomicU64,
    pub concurrency_limit: AtomicU64,
    pub time_out: AtomicU64,
}

/// One flow schema with the level that it leads to.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) name: String,
    pub(super) level: Arc<Level>,
    pub(super) counts: Arc<Counts>,
    /// For the answer's headers.
    pub(super) uid: HeaderValue,
    pub(super) level_uid: HeaderValue,
    precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

/// `PolicyRulesWithSubjects`
#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    Anyone,
    User(String),
    Group(String),
    /// All accounts of a namespace: their names start so.
    Accounts(String),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Names,
    paths: Names,
}

/// A list in which `*` alone means all.
#[derive(Debug)]
enum Names {
    All,
    These(Vec<String>),
}

impl Names {
    fn new(rule: &Value, field: &str) -> Self {
        let names: Vec<String> = texts(rule, field).map(str::to_owned).collect();
        if names == ["*"] { Self::All } else { Self::These(names) }
    }

    fn has(&self, name: &str) -> bool {
        self.any(|known| known == name)
    }

    fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| is(name)),
        }
    }
}

impl Schema {
    /// Reads a FlowSchema.
    pub(super) fn new(object: &Value, level: Arc<Level>, level_uid: &str, counts: Arc<Counts>) -> Self {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self {
            name: object.name().to_owned(),
            level,
            counts,
            uid: header(object.uid()),
            level_uid: header(level_uid),
            precedence: object.i64_at(&["spec", "matchingPrecedence"]).unwrap_or(1000),
            distinguisher: match object.str_at(&["spec", "distinguisherMethod", "type"]) {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules: object.get("spec").into_iter().flat_map(|spec| items(spec, "rules")).map(Rule::new).collect(),
        }
    }

    /// The order in which schemas are asked.
    pub(super) fn rank(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    pub(super) fn matches(&self, digest: &Digest<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(digest))
    }

    /// What tells a request's flow from the others of its schema.
    pub(super) fn distinguisher<'a>(&self, digest: &Digest<'a>) -> &'a str {
        match self.distinguisher {
            Distinguisher::Nothing => "",
            Distinguisher::User => &digest.user.name,
            Distinguisher::Namespace => digest.namespace,
        }
    }

    /// The flow of a request, as a number: its schema with what tells its flows apart.
    pub(super) fn flow(&self, digest: &Digest<'_>) -> u64 {
        let mut hash = Context::new(&SHA256);
        hash.update(self.name.as_bytes());
        hash.update(&[0]);
        hash.update(self.distinguisher(digest).as_bytes());
        let sum = hash.finish();
        let first = sum.as_ref().first_chunk().expect("SHA-256 gives 32 bytes");
        u64::from_le_bytes(*first)
    }
}

impl Rule {
    fn new(rule: &Value) -> Self {
        Self {
            subjects: items(rule, "subjects").filter_map(Subject::new).collect(),
            resources: items(rule, "resourceRules").map(ResourceRule::new).collect(),
            paths: items(rule, "nonResourceRules")
                .map(|rule| PathRule { verbs: Names::new(rule, "verbs"), paths: Names::new(rule, "nonResourceURLs") })
                .collect(),
        }
    }

    fn matches(&self, digest: &Digest<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(digest.user))
            && if digest.path.is_empty() {
                self.resources.iter().any(|rule| rule.matches(digest))
            } else {
                self.paths.iter().any(|rule| rule.matches(digest))
            }
    }
}

impl Subject {
    fn new(subject: &Value) -> Option<Self> {
        let name = |kind: &str| subject.str_at(&[kind, "name"]);
        Some(match subject.str_at(&["kind"])? {
            "User" => match name("user")? {
                "*" => Self::Anyone,
                name => Self::User(name.to_owned()),
            },
            "Group" => match name("group")? {
                "*" => Self::Anyone,
                name => Self::Group(name.to_owned()),
            },
            "ServiceAccount" => {
                let namespace = subject.str_at(&["serviceAccount", "namespace"])?;
                match name("serviceAccount")? {
                    "*" => Self::Accounts(format!("{SERVICE_ACCOUNT}{namespace}:")),
                    name => Self::User(format!("{SERVICE_ACCOUNT}{namespace}:{name}")),
                }
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(name) => user.name == *name,
            Self::Group(name) => user.groups.iter().any(|group| group == name),
            Self::Accounts(prefix) => user.name.starts_with(prefix.as_str()),
        }
    }
}

impl ResourceRule {
    fn new(rule: &Value) -> Self {
        Self {
            verbs: Names::new(rule, "verbs"),
            groups: Names::new(rule, "apiGroups"),
            resources: Names::new(rule, "resources"),
            namespaces: Names::new(rule, "namespaces"),
            cluster_scope: rule.get("clusterScope").and_then(Value::as_bool).unwrap_or(false),
        }
    }

    fn matches(&self, digest: &Digest<'_>) -> bool {
        self.verbs.has(digest.verb)
            && self.groups.has(digest.group)
            && self.resources.any(|known| is_resource(known, digest.resource, digest.subresource))
            && if digest.namespace.is_empty() { self.cluster_scope } else { self.namespaces.has(digest.namespace) }
    }
}

/// `pods`, or `pods/status` below it.
fn is_resource(known: &str, resource: &str, subresource: &str) -> bool {
    match known.strip_prefix(resource) {
        Some("") => subresource.is_empty(),
        Some(rest) => !subresource.is_empty() && rest.strip_prefix('/') == Some(subresource),
        None => false,
    }
}

impl PathRule {
    /// A path matches itself and all below it.
    fn matches(&self, digest: &Digest<'_>) -> bool {
        self.verbs.has(digest.verb)
            && self.paths.any(|known| {
                let prefix = known.strip_suffix('*').unwrap_or(known);
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                digest.path == known || digest.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

fn items<'a>(tree: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    tree.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn texts<'a>(tree: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    items(tree, field).filter_map(Value::as_str)
}

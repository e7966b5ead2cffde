//! The flow schemas and priority levels that every cluster has: those that must be, and those that upstream suggests.

use machinery::json::{Map, Value};

use super::API_VERSION;

/// Whether the server puts an object's spec right, in its annotations.
pub(crate) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const ALL: &[&str] = &["*"];
const PROBES: &[&str] = &["/healthz", "/readyz", "/livez"];

/// A limited level: its name, shares, percentage it lends, and queues, hand size and length of queues (none rejects).
type Level = (&'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
    ("global-default", 20, 50, Some((128, 6, 50))),
];

/// A schema: its name, level, precedence and what makes a flow (empty: nothing); whose requests, and which.
struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    method: &'static str,
    subjects: &'static [Subject],
    /// Verbs, groups, resources, and whether those outside of namespaces are meant too.
    resources: &'static [Resources],
    /// Verbs and paths.
    paths: Option<(&'static [&'static str], &'static [&'static str])>,
}

type Resources = (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);

enum Subject {
    Group(&'static str),
    User(&'static str),
    /// All accounts of kube-system.
    SystemAccounts,
}

const EVERYTHING: &[Resources] = &[(ALL, ALL, ALL, true)];
const EVERY_PATH: Option<(&[&str], &[&str])> = Some((ALL, ALL));
const EVERYONE: &[Subject] = &[Subject::Group("system:unauthenticated"), Subject::Group("system:authenticated")];
const NODES: &[Subject] = &[Subject::Group("system:nodes")];

const fn all(
    name: &'static str,
    level: &'static str,
    precedence: i64,
    method: &'static str,
    subjects: &'static [Subject],
) -> Schema {
    Schema { name, level, precedence, method, subjects, resources: EVERYTHING, paths: EVERY_PATH }
}

const SCHEMAS: [Schema; 11] = [
    all("exempt", "exempt", 1, "", &[Subject::Group("system:masters")]),
    Schema {
        name: "probes",
        level: "exempt",
        precedence: 2,
        method: "",
        subjects: EVERYONE,
        resources: &[],
        paths: Some((&["get"], PROBES)),
    },
    Schema {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        method: "ByUser",
        subjects: &[
            Subject::User("system:kube-controller-manager"),
            Subject::User("system:kube-scheduler"),
            Subject::SystemAccounts,
        ],
        resources: &[(&["get", "create", "update"], &["coordination.k8s.io"], &["leases"], false)],
        paths: None,
    },
    Schema {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        method: "ByUser",
        subjects: NODES,
        resources: &[
            (ALL, &[""], &["nodes", "nodes/status"], true),
            (ALL, &["coordination.k8s.io"], &["leases"], false),
        ],
        paths: None,
    },
    all("system-nodes", "system", 500, "ByUser", NODES),
    all(
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &[Subject::User("system:kube-controller-manager")],
    ),
    all("kube-scheduler", "workload-high", 800, "ByNamespace", &[Subject::User("system:kube-scheduler")]),
    all("kube-system-service-accounts", "workload-high", 900, "ByNamespace", &[Subject::SystemAccounts]),
    all("service-accounts", "workload-low", 9000, "ByUser", &[Subject::Group("system:serviceaccounts")]),
    all("global-default", "global-default", 9900, "ByUser", EVERYONE),
    all("catch-all", "catch-all", 10_000, "ByUser", EVERYONE),
];

/// All of them, levels first.
pub(crate) fn all_objects() -> Vec<Value> {
    let exempt = std::iter::once(object("PriorityLevelConfiguration", "exempt", exempt_spec()));
    let levels = LEVELS.iter().map(|level| object("PriorityLevelConfiguration", level.0, level_spec(level)));
    let schemas = SCHEMAS.iter().map(|schema| object("FlowSchema", schema.name, schema_spec(schema)));
    exempt.chain(levels).chain(schemas).collect()
}

/// The spec that an object of this kind and name must have; none when it is free.
pub(super) fn mandatory_spec(kind: &str, name: &str) -> Option<Value> {
    match (kind, name) {
        ("FlowSchema", "exempt" | "catch-all") => SCHEMAS.iter().find(|s| s.name == name).map(schema_spec),
        ("PriorityLevelConfiguration", "exempt") => Some(exempt_spec()),
        ("PriorityLevelConfiguration", "catch-all") => LEVELS.iter().find(|level| level.0 == name).map(level_spec),
        _ => None,
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = Value::object();
    object.set_at(&["apiVersion"], API_VERSION);
    object.set_at(&["kind"], kind);
    object.set_at(&["metadata", "name"], name);
    object.set_at(&["metadata", "annotations", AUTO_UPDATE], "true");
    object.set_at(&["spec"], spec);
    object
}

fn exempt_spec() -> Value {
    let mut spec = Value::object();
    spec.set_at(&["type"], "Exempt");
    spec.set_at(&["exempt", "nominalConcurrencyShares"], 0);
    spec.set_at(&["exempt", "lendablePercent"], 0);
    spec
}

fn level_spec((_, shares, lendable, queues): &Level) -> Value {
    let mut spec = Value::object();
    spec.set_at(&["type"], "Limited");
    spec.set_at(&["limited", "nominalConcurrencyShares"], *shares);
    spec.set_at(&["limited", "lendablePercent"], *lendable);
    let kind = if queues.is_some() { "Queue" } else { "Reject" };
    spec.set_at(&["limited", "limitResponse", "type"], kind);
    if let Some((queues, hand, length)) = queues {
        for (field, value) in [("queues", queues), ("handSize", hand), ("queueLengthLimit", length)] {
            spec.set_at(&["limited", "limitResponse", "queuing", field], *value);
        }
    }
    spec
}

fn schema_spec(schema: &Schema) -> Value {
    let mut spec = Value::object();
    spec.set_at(&["priorityLevelConfiguration", "name"], schema.level);
    spec.set_at(&["matchingPrecedence"], schema.precedence);
    if !schema.method.is_empty() {
        spec.set_at(&["distinguisherMethod", "type"], schema.method);
    }
    let mut rule = Map::new();
    rule.insert("subjects", schema.subjects.iter().map(subject).collect::<Vec<_>>());
    if !schema.resources.is_empty() {
        rule.insert("resourceRules", schema.resources.iter().map(resource_rule).collect::<Vec<_>>());
    }
    if let Some((verbs, paths)) = schema.paths {
        let fields = [("verbs", verbs.to_vec()), ("nonResourceURLs", paths.to_vec())];
        rule.insert("nonResourceRules", vec![Value::Object(Map::from_iter(fields))]);
    }
    spec.set_at(&["rules"], vec![Value::Object(rule)]);
    spec
}

fn resource_rule((verbs, groups, resources, cluster): &Resources) -> Value {
    let mut rule = Map::new();
    rule.insert("verbs", verbs.to_vec());
    rule.insert("apiGroups", groups.to_vec());
    rule.insert("resources", resources.to_vec());
    rule.insert("namespaces", ALL.to_vec());
    if *cluster {
        rule.insert("clusterScope", true);
    }
    rule.into()
}

fn subject(subject: &Subject) -> Value {
    let mut tree = Value::object();
    let (kind, field, name) = match subject {
        Subject::Group(name) => ("Group", "group", *name),
        Subject::User(name) => ("User", "user", *name),
        Subject::SystemAccounts => ("ServiceAccount", "serviceAccount", "*"),
    };
    tree.set_at(&["kind"], kind);
    tree.set_at(&[field, "name"], name);
    if matches!(subject, Subject::SystemAccounts) {
        tree.set_at(&[field, "namespace"], "kube-system");
    }
    tree
}

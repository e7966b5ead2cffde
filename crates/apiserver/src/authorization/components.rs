//! The table: roles of the scheduler, the controller manager, the service proxy and the nodes.

use super::roles::{CORE, LEASES, READ, RECORD, WRITE, rule};
use super::{ANY_ONE, OWN_NODE, Role, Rule, Subject};

const REVIEWS: Rule = rule(
    &["create"],
    &["authentication.k8s.io", "authorization.k8s.io"],
    &["tokenreviews", "subjectaccessreviews", "localsubjectaccessreviews"],
);

pub(super) const ROLES: &[Role] = &[
    Role {
        name: "system:kube-scheduler",
        subjects: &[Subject::User("system:kube-scheduler")],
        rules: &[
            RECORD,
            REVIEWS,
            rule(&["create", "get", "list", "watch", "update", "patch"], LEASES, &["leases"]),
            rule(READ, CORE, &["nodes", "namespaces", "replicationcontrollers", "services"]),
            rule(&["get", "list", "watch", "delete"], CORE, &["pods"]),
            rule(&["create"], CORE, &["bindings", "pods/binding"]),
            rule(WRITE, CORE, &["pods/status"]),
            rule(READ, &["apps"], &["replicasets", "statefulsets"]),
            rule(READ, &["policy"], &["poddisruptionbudgets"]),
            rule(&["get", "list", "watch", "update", "patch"], CORE, &["persistentvolumeclaims", "persistentvolumes"]),
            rule(READ, &["scheduling.k8s.io"], &["priorityclasses"]),
            rule(READ, &["storage.k8s.io"], STORAGE),
            rule(READ, &["resource.k8s.io"], &["deviceclasses", "resourceclaims", "resourceslices"]),
            rule(WRITE, &["resource.k8s.io"], &["resourceclaims", "resourceclaims/status"]),
        ],
    },
    Role {
        name: "system:kube-controller-manager",
        subjects: &[Subject::User("system:kube-controller-manager")],
        rules: &[
            // The shared informers, and the metadata informers of the garbage collector and of quotas.
            rule(READ, &["*"], &["*"]),
            RECORD,
            REVIEWS,
            rule(&["create", "get", "list", "watch", "update", "patch"], LEASES, &["leases"]),
            rule(&["create", "get", "update", "delete"], CORE, &["secrets", "serviceaccounts"]),
            rule(&["get"], CORE, &["configmaps", "namespaces"]),
            rule(&["create"], CORE, &["serviceaccounts/token"]),
        ],
    },
    Role {
        name: "system:node-proxier",
        subjects: &[Subject::User("system:kube-proxy")],
        rules: &[
            RECORD,
            rule(READ, CORE, &["services", "endpoints", "nodes"]),
            rule(READ, &["discovery.k8s.io"], &["endpointslices"]),
            rule(READ, &["networking.k8s.io"], &["servicecidrs", "networkpolicies"]),
            // DIVERGES: the proxy applies network policies as well, which select pods and namespaces.
            rule(READ, CORE, &["pods", "namespaces"]),
        ],
    },
    Role { name: "system:node", subjects: &[Subject::Node], rules: NODE },
];

const STORAGE: &[&str] = &["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"];

/// A node changes only itself, its lease and the status of pods. DIVERGES: upstream's node authorizer lets a node read only
/// those secrets and config maps that its pods refer to; here it may read any of them, one by one by name, never list them.
const NODE: &[Rule] = &[
    RECORD,
    REVIEWS,
    rule(&["create", "get", "list", "watch"], CORE, &["nodes"]),
    named(&["update", "patch", "delete"], CORE, &["nodes"], OWN_NODE_ONLY),
    named(WRITE, CORE, &["nodes/status"], OWN_NODE_ONLY),
    rule(&["get", "list", "watch", "create", "delete"], CORE, &["pods"]),
    rule(&["get", "update", "patch"], CORE, &["pods/status"]),
    rule(&["create"], CORE, &["pods/eviction"]),
    rule(READ, CORE, &["services"]),
    named(READ, CORE, &["secrets", "configmaps"], ONE_BY_ONE),
    named(&["get"], CORE, &["persistentvolumeclaims", "persistentvolumes", "endpoints", "serviceaccounts"], ONE_BY_ONE),
    rule(&["create"], CORE, &["serviceaccounts/token"]),
    Rule {
        verbs: &["create"],
        groups: LEASES,
        resources: &["leases"],
        names: &[],
        paths: &[],
        namespace: "kube-node-lease",
    },
    Rule {
        verbs: &["get", "update", "patch", "delete"],
        groups: LEASES,
        resources: &["leases"],
        names: OWN_NODE_ONLY,
        paths: &[],
        namespace: "kube-node-lease",
    },
    rule(&["create", "get", "list", "watch"], &["certificates.k8s.io"], &["certificatesigningrequests"]),
    rule(&["create", "get", "list", "watch"], &["certificates.k8s.io"], &["podcertificaterequests"]),
    rule(READ, &["certificates.k8s.io"], &["clustertrustbundles"]),
    rule(READ, &["node.k8s.io"], &["runtimeclasses"]),
    rule(READ, &["storage.k8s.io"], &["csidrivers"]),
    rule(&["create"], &["storage.k8s.io"], &["csinodes"]),
    named(&["get", "update", "patch", "delete"], &["storage.k8s.io"], &["csinodes"], OWN_NODE_ONLY),
    rule(&["get"], &["storage.k8s.io"], &["volumeattachments"]),
];

const OWN_NODE_ONLY: &[&str] = &[OWN_NODE];
const ONE_BY_ONE: &[&str] = &[ANY_ONE];

const fn named(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    names: &'static [&'static str],
) -> Rule {
    Rule { verbs, groups, resources, names, paths: &[], namespace: "" }
}

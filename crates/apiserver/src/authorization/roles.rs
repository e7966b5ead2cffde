//! The table: roles of people, of groups, and the lists of all roles.

use super::{Role, Rule, Subject, components, controllers};

/// All roles there are.
pub(super) static TABLES: [&[Role]; 3] = [PEOPLE, components::ROLES, controllers::ROLES];

/// On all objects of some resources.
pub(super) const fn rule(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> Rule {
    Rule { verbs, groups, resources, names: &[], paths: &[], namespace: "" }
}

/// On paths that name no resource.
const fn paths(paths: &'static [&'static str]) -> Rule {
    Rule { verbs: &["get", "head"], groups: &[], resources: &[], names: &[], paths, namespace: "" }
}

pub(super) const CORE: &[&str] = &[""];
pub(super) const EVENTS: &[&str] = &["", "events.k8s.io"];
pub(super) const LEASES: &[&str] = &["coordination.k8s.io"];
pub(super) const READ: &[&str] = &["get", "list", "watch"];
pub(super) const WRITE: &[&str] = &["update", "patch"];
/// What a recorder of events does.
pub(super) const RECORD: Rule = rule(&["create", "patch", "update"], EVENTS, &["events"]);

const PEOPLE: &[Role] = &[
    Role {
        name: "cluster-admin",
        subjects: &[Subject::Group("system:masters")],
        rules: &[Rule { verbs: &["*"], groups: &["*"], resources: &["*"], names: &[], paths: &["*"], namespace: "" }],
    },
    Role {
        name: "system:discovery",
        subjects: &[Subject::Group("system:authenticated")],
        rules: &[paths(&[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ])],
    },
    Role {
        name: "system:public-info-viewer",
        subjects: &[Subject::Group("system:authenticated"), Subject::Group("system:unauthenticated")],
        rules: &[paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])],
    },
    Role {
        name: "system:basic-user",
        subjects: &[Subject::Group("system:authenticated")],
        rules: &[
            rule(&["create"], &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            rule(&["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
        ],
    },
    Role {
        name: "system:service-account-issuer-discovery",
        subjects: &[Subject::Group("system:serviceaccounts")],
        rules: &[paths(&[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ])],
    },
    Role {
        name: "system:monitoring",
        subjects: &[Subject::Group("system:monitoring")],
        rules: &[paths(&[
            "/healthz",
            "/healthz/*",
            "/livez",
            "/livez/*",
            "/metrics",
            "/metrics/slis",
            "/readyz",
            "/readyz/*",
        ])],
    },
];

//! The golden matrix: who may do what.

use super::*;

fn user(name: &str) -> User {
    match name {
        "admin" => User::component("admin", &["system:masters"]),
        "system:anonymous" => crate::authentication::anonymous(),
        "jane" => User::component("jane", &[]),
        "monitor" => User::component("monitor", &["system:monitoring"]),
        node if node.starts_with("system:node:") => User::component(node, &["system:nodes"]),
        account if account.starts_with("system:serviceaccount:") => {
            User::component(account, &["system:serviceaccounts"])
        }
        component => User::component(component, &[]),
    }
}

/// `verb group resource/subresource namespace name`, or `verb path`; `-` is empty.
fn question(text: &str) -> Question<'_> {
    let parts: Vec<&str> = text.split(' ').map(|p| if p == "-" { "" } else { p }).collect();
    if parts.len() == 2 {
        return Question { verb: parts[0], path: parts[1], ..Question::default() };
    }
    let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
    Question { verb: parts[0], group: parts[1], resource, subresource, namespace: parts[3], name: parts[4], path: "" }
}

const DEPLOYMENTS: &str = "system:serviceaccount:kube-system:deployment-controller";

#[test]
fn the_matrix_holds() {
    let questions: &[(&str, &[&str])] = &[
        ("get /version", &["admin", "jane", "monitor", "node", "account", "scheduler", "anonymous"]),
        ("get /healthz", &["admin", "jane", "monitor", "node", "account", "scheduler", "anonymous"]),
        ("get /readyz/ping", &["admin", "monitor"]),
        ("get /metrics", &["admin", "monitor"]),
        ("get /apis/apps/v1", &["admin", "jane", "monitor", "node", "account", "scheduler"]),
        ("get /openapi/v2", &["admin", "jane", "monitor", "node", "account", "scheduler"]),
        ("get /openid/v1/jwks", &["admin", "account"]),
        ("get /secret", &["admin"]),
        ("list - pods default -", &["admin", "node", "account", "scheduler"]),
        ("create - pods/binding default web", &["admin", "scheduler"]),
        ("create - pods default -", &["admin", "node"]),
        ("get - pods/log default web", &["admin"]),
        ("create - pods/exec default web", &["admin"]),
        ("list - secrets default -", &["admin"]),
        ("get - secrets default one", &["admin", "node"]),
        ("update - nodes/status - n1", &["admin", "node"]),
        ("update - nodes/status - n2", &["admin"]),
        ("update coordination.k8s.io leases kube-node-lease n1", &["admin", "node", "scheduler"]),
        ("update coordination.k8s.io leases kube-node-lease n2", &["admin", "scheduler"]),
        ("update apps deployments/status default web", &["admin", "account"]),
        ("delete - namespaces - default", &["admin"]),
        ("impersonate - users - x", &["admin"]),
        (
            "create authorization.k8s.io selfsubjectaccessreviews - -",
            &["admin", "jane", "monitor", "node", "account", "scheduler"],
        ),
        ("create authentication.k8s.io tokenreviews - -", &["admin", "node", "scheduler"]),
    ];
    let users = [
        ("admin", "admin"),
        ("jane", "jane"),
        ("monitor", "monitor"),
        ("node", "system:node:n1"),
        ("account", DEPLOYMENTS),
        ("scheduler", "system:kube-scheduler"),
        ("anonymous", "system:anonymous"),
    ];
    for (text, wanted) in questions {
        let allowed: Vec<&str> =
            users.iter().filter(|(_, name)| allows(&user(name), &question(text))).map(|(short, _)| *short).collect();
        assert_eq!(&allowed, wanted, "{text}");
    }
}

#[test]
fn a_node_needs_its_group() {
    let imposter = User::component("system:node:n1", &[]);
    assert!(!allows(&imposter, &question("list - pods - -")));
    let account = user("system:serviceaccount:default:deployment-controller");
    assert!(!allows(&account, &question("list - pods default -")));
}

#[test]
fn denials_are_worded_as_upstream_words_them() {
    let denied = |text| denial(&user("jane"), &question(text)).to_string();
    assert_eq!(
        denied("list - pods default -"),
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    assert_eq!(
        denied("get apps deployments/scale default web"),
        r#"deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments/scale" in API group "apps" in the namespace "default""#
    );
    assert_eq!(
        denied("list - nodes - -"),
        r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#
    );
    assert_eq!(denied("get /metrics"), r#"forbidden: User "jane" cannot get path "/metrics""#);
}

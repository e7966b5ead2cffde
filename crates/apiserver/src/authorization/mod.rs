//! Who may do what: asked in one place, by the pipeline, for every request.
//!
//! The answer comes from a fixed table of roles that mirrors upstream's default cluster roles ([`roles`]), in the shape of
//! RBAC's rules, so that RBAC's objects can take its place.

mod components;
mod controllers;
pub mod roles;
mod table;

use client::User;
use machinery::{ApiError, GroupResource};

pub use table::RoleTable;

/// One question.
#[derive(Debug, Clone, Default)]
pub struct Question<'a> {
    /// `get`, `list`, `create` …
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// The plural; empty for paths that name no resource.
    pub resource: &'a str,
    /// What below the object.
    pub subresource: &'a str,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: &'a str,
    /// Empty for lists, and for objects still to be made.
    pub name: &'a str,
    /// The path, when it names no resource.
    pub path: &'a str,
}

/// What a role allows, as RBAC's `PolicyRule`. `*` stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list` …
    pub verbs: &'static [&'static str],
    /// API groups.
    pub groups: &'static [&'static str],
    /// `pods`, `pods/log`
    pub resources: &'static [&'static str],
    /// Only objects of these names; [`OWN_NODE`] and [`ANY_ONE`] have a meaning. Empty is all.
    pub names: &'static [&'static str],
    /// Paths; a trailing `*` stands for what follows.
    pub paths: &'static [&'static str],
    /// Only in this namespace; empty is everywhere (in RBAC this stands in the binding).
    pub namespace: &'static str,
}

/// As a name in a rule: the name of the node that asks.
pub const OWN_NODE: &str = "{node}";
/// As a name in a rule: whatever is named, so that one object can be read, and not all of them.
pub const ANY_ONE: &str = "{one}";

/// Whom a role is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A user of this name.
    User(&'static str),
    /// All in a group.
    Group(&'static str),
    /// A service account in `kube-system`.
    Controller(&'static str),
    /// A node: a user `system:node:NAME` in the group `system:nodes`.
    Node,
}

/// A role and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// As upstream names it.
    pub name: &'static str,
    /// Who has it.
    pub subjects: &'static [Subject],
    /// What it allows.
    pub rules: &'static [Rule],
}

/// Whether the table allows it.
pub fn allows(user: &User, question: &Question<'_>) -> bool {
    let mut roles = roles::TABLES.iter().flat_map(|table| table.iter());
    roles.any(|role| {
        role.rules.iter().any(|rule| rule.covers(user, question)) && role.subjects.iter().any(|s| s.is(user))
    })
}

/// The rules that a user has in a namespace (SelfSubjectRulesReview).
pub fn rules_of(user: &User, namespace: &str) -> Vec<&'static Rule> {
    let roles = roles::TABLES.iter().flat_map(|table| table.iter());
    let rules = roles.filter(|role| role.subjects.iter().any(|s| s.is(user))).flat_map(|role| role.rules);
    rules.filter(|rule| rule.namespace.is_empty() || rule.namespace == namespace).collect()
}

/// The error for what is not allowed, worded as upstream words it.
pub fn denial(user: &User, question: &Question<'_>) -> ApiError {
    let Question { verb, group, resource, subresource, namespace, name, path } = question;
    let user = &user.name;
    if resource.is_empty() {
        let empty = GroupResource { group: "".into(), resource: "".into() };
        return ApiError::forbidden(&empty, "", &format!("User {user:?} cannot {verb} path {path:?}"));
    }
    let full = if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
    let place = match namespace.is_empty() {
        true => "at the cluster scope".to_owned(),
        false => format!("in the namespace {namespace:?}"),
    };
    let detail = format!("User {user:?} cannot {verb} resource {full:?} in API group {group:?} {place}");
    ApiError::forbidden(&GroupResource { group: (*group).into(), resource: (*resource).into() }, name, &detail)
}

/// The node that asks, when it is one.
pub fn node_name(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.groups.iter().any(|g| g == "system:nodes"))
}

impl Subject {
    fn is(self, user: &User) -> bool {
        match self {
            Self::User(name) => user.name == name,
            Self::Group(name) => user.groups.iter().any(|g| g == name),
            Self::Controller(name) => user.name.strip_prefix("system:serviceaccount:kube-system:") == Some(name),
            Self::Node => node_name(user).is_some(),
        }
    }
}

impl Rule {
    fn covers(&self, user: &User, question: &Question<'_>) -> bool {
        if !has(self.verbs, question.verb) {
            return false;
        }
        if question.resource.is_empty() {
            return self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(start) => question.path.starts_with(start),
                None => question.path == *path,
            });
        }
        has(self.groups, question.group)
            && self.resources.iter().any(|r| resource_matches(r, question.resource, question.subresource))
            && (self.namespace.is_empty() || self.namespace == question.namespace)
            && (self.names.is_empty() || self.names.iter().any(|n| name_matches(n, user, question.name)))
    }
}

fn has(list: &[&str], item: &str) -> bool {
    list.iter().any(|known| *known == "*" || *known == item)
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        _ if rule == "*" => true,
        Some((main, below)) => !subresource.is_empty() && below == subresource && (main == "*" || main == resource),
        None => subresource.is_empty() && rule == resource,
    }
}

fn name_matches(rule: &str, user: &User, name: &str) -> bool {
    match rule {
        OWN_NODE => !name.is_empty() && node_name(user) == Some(name),
        ANY_ONE => !name.is_empty(),
        exact => exact == name,
    }
}

#[cfg(test)]
mod tests;

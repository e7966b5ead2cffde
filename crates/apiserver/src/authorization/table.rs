//! The table as the pipeline asks it.

use client::User;
use machinery::{Map, Value};

use super::{Question, Rule, allows, rules_of};
use crate::pipeline::{Attributes, Authorizer, Decision, UserRules};

/// Answers from the fixed table of roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoleTable;

impl<'a> From<&'a Attributes> for Question<'a> {
    fn from(attributes: &'a Attributes) -> Self {
        Self {
            verb: &attributes.verb,
            group: &attributes.group,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            path: &attributes.path,
        }
    }
}

impl Authorizer for RoleTable {
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        if allows(user, &attributes.into()) { Decision::Allow } else { Decision::Deny(String::new()) }
    }

    fn rules(&self, user: &User, namespace: &str) -> UserRules {
        let mut rules = UserRules::default();
        for rule in rules_of(user, namespace) {
            if !rule.resources.is_empty() {
                rules.resources.push(resource_rule(rule));
            }
            if !rule.paths.is_empty() {
                let fields = [("verbs", rule.verbs.to_vec()), ("nonResourceURLs", rule.paths.to_vec())];
                rules.paths.push(Value::Object(Map::from_iter(fields)));
            }
        }
        rules
    }
}

fn resource_rule(rule: &Rule) -> Value {
    let mut tree = Map::new();
    tree.insert("verbs", rule.verbs.to_vec());
    tree.insert("apiGroups", rule.groups.to_vec());
    tree.insert("resources", rule.resources.to_vec());
    if !rule.names.is_empty() {
        tree.insert("resourceNames", rule.names.to_vec());
    }
    tree.into()
}

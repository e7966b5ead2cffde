//! Node selectors and the terms of pod affinity.

use std::collections::BTreeMap;

use client::labels::{self, Labels};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether a node matches one of the selector's terms. No term matches nothing.
pub fn matches_node(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| matches_term(term, node))
}

/// Whether a node meets all of a term. An empty term matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (expressions, fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    let (expressions, fields) = (expressions.unwrap_or_default(), fields.unwrap_or_default());
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let of_label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key)).map(String::as_str);
    let of_field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_deref()).flatten();
    expressions.iter().all(|r| meets(r, of_label(&r.key))) && fields.iter().all(|r| meets(r, of_field(&r.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|v| values.iter().any(|wanted| wanted == v));
    let compared = |than: fn(&i64, &i64) -> bool| {
        let both = value.and_then(|v| v.parse().ok()).zip(values.first().and_then(|v| v.parse().ok()));
        both.is_some_and(|(own, wanted)| than(&own, &wanted))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

/// Whether `spec.nodeSelector` and the required node affinity allow a node.
pub fn allows_node(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let by_labels = spec.node_selector.as_ref().is_none_or(|s| labels::contains_all(node.metadata.labels.as_ref(), s));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    by_labels && required.is_none_or(|selector| matches_node(selector, node))
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let of = |field: &Option<String>| field.clone().unwrap_or_default();
    let (own_effect, own_key) = (of(&toleration.effect), of(&toleration.key));
    if (!own_effect.is_empty() && own_effect != effect) || (!own_key.is_empty() && own_key != key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => !own_key.is_empty() && of(&toleration.value) == value,
        "Gt" | "Lt" => {
            let both = value.parse::<i64>().ok().zip(of(&toleration.value).parse::<i64>().ok());
            let greater = toleration.operator.as_deref() == Some("Gt");
            both.is_some_and(|(taint, own)| if greater { taint > own } else { taint < own })
        }
        _ => false,
    }
}

/// A selector with the values that the pod itself has for some keys (`matchLabelKeys`, `mismatchLabelKeys`).
pub fn with_own_labels(
    selector: Option<&LabelSelector>,
    own: Option<&Labels>,
    same: Option<&Vec<String>>,
    other: Option<&Vec<String>>,
) -> Option<LabelSelector> {
    let mut selector = selector?.clone();
    for (keys, operator) in [(same, "In"), (other, "NotIn")] {
        for key in keys.into_iter().flatten() {
            let Some(value) = own.and_then(|l| l.get(key)) else { continue };
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    Some(selector)
}

/// A term of pod affinity or anti-affinity, ready to be asked.
#[derive(Debug, Clone)]
pub struct Term {
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
    /// The node label that says what "together" means.
    pub topology_key: String,
}

impl Term {
    /// A term of a pod: without namespaces it means the pod's own.
    pub fn new(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        let own = pod.metadata.labels.as_ref();
        let (same, other) = (term.match_label_keys.as_ref(), term.mismatch_label_keys.as_ref());
        Self {
            selector: with_own_labels(term.label_selector.as_ref(), own, same, other),
            namespaces,
            namespace_selector: term.namespace_selector.clone(),
            topology_key: term.topology_key.clone(),
        }
    }

    /// Whether it means a pod. A term without a selector means none.
    pub fn matches(&self, pod: &Pod, namespaces: &BTreeMap<String, Labels>) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let by_selector = |s: &LabelSelector| labels::matches(s, namespaces.get(namespace));
        let here =
            self.namespaces.iter().any(|n| n == namespace) || self.namespace_selector.as_ref().is_some_and(by_selector);
        here && self.selector.as_ref().is_some_and(|s| labels::matches(s, pod.metadata.labels.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_terms_follow_the_api() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
        }))
        .unwrap();
        let cases = [
            (serde_json::json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}), false),
            (serde_json::json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), true),
            (
                serde_json::json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}),
                false,
            ),
            (serde_json::json!({}), false),
        ];
        for (term, expected) in cases {
            let term: NodeSelectorTerm = serde_json::from_value(term).unwrap();
            assert_eq!(matches_term(&term, &node), expected, "{term:?}");
        }
    }

    #[test]
    fn tolerations_follow_the_api() {
        let cases = [
            (serde_json::json!({"operator": "Exists"}), true),
            (serde_json::json!({"key": "k", "value": "v"}), true),
            (serde_json::json!({"key": "k", "value": "w"}), false),
            (serde_json::json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
            (serde_json::json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), true),
            (serde_json::json!({"value": "v"}), false),
        ];
        for (toleration, expected) in cases {
            let toleration: Toleration = serde_json::from_value(toleration).unwrap();
            assert_eq!(tolerates(&toleration, "k", "v", "NoSchedule"), expected, "{toleration:?}");
        }
    }
}

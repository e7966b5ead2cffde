//! The pod's demands on the Node's labels, and the Node's taints that drive pods away.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

use super::{Question, Refusal, predicate};

/// Whether node selector, node affinity or a taint of effect NoExecute keep the pod away.
pub fn unfit(question: &Question<'_>) -> Option<Refusal> {
    let node = question.node?;
    let spec = question.wanted.spec();
    let labels = node.metadata.labels.as_ref();
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let fits = required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, node)));
    if !selected || !fits {
        return Some(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref()).into_iter().flatten();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let driven = |taint: &Taint| taint.effect == "NoExecute" && !tolerations.iter().any(|t| tolerates(t, taint));
    let mut taints = taints.filter(|taint| driven(taint));
    taints.next().map(|_| predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"))
}

/// A term without any demand matches nothing, as upstream has it.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let fields = BTreeMap::from([("metadata.name".to_owned(), node.metadata.name.clone().unwrap_or_default())]);
    let (on_labels, on_fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    let (on_labels, on_fields) = (on_labels.unwrap_or_default(), on_fields.unwrap_or_default());
    let some = !on_labels.is_empty() || !on_fields.is_empty();
    some && on_labels.iter().all(|r| meets(r, &labels)) && on_fields.iter().all(|r| meets(r, &fields))
}

fn meets(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compared = value.and_then(number).zip(values.first().and_then(number));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(own, wanted)| own > wanted),
        "Lt" => compared.is_some_and(|(own, wanted)| own < wanted),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let same = (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key);
    let (own, wanted) = (text(&toleration.value), text(&taint.value));
    same && match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => own == wanted,
        "Exists" => true,
        "Gt" => wanted.parse::<i64>().ok().zip(own.parse::<i64>().ok()).is_some_and(|(taint, own)| taint > own),
        "Lt" => wanted.parse::<i64>().ok().zip(own.parse::<i64>().ok()).is_some_and(|(taint, own)| taint < own),
        _ => false,
    }
}

/// Whether a pod tolerates the taint of nodes that are short of memory.
pub fn tolerates_memory_pressure(toleration: &Toleration) -> bool {
    let (key, effect) = ("node.kubernetes.io/memory-pressure".to_owned(), "NoSchedule".to_owned());
    tolerates(toleration, &Taint { key, effect, ..Taint::default() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;
    use crate::eviction::Pressure;
    use crate::register::Machine;

    #[test]
    fn labels_and_taints_are_asked() {
        let node: Node = serde_json::from_str(
            r#"{"metadata":{"name":"n1","labels":{"disk":"ssd","cores":"4"}},
                "spec":{"taints":[{"key":"gone","effect":"NoExecute"},{"key":"full","effect":"NoSchedule"}]}}"#,
        )
        .unwrap();
        let machine = Machine::default();
        let tolerant = r#""tolerations":[{"key":"gone","operator":"Exists"}]"#;
        let affinity = |list: &str, demand: &str| {
            format!(
                r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{
                    "nodeSelectorTerms":[{{"{list}":[{demand}]}}]}}}}}},{tolerant}"#
            )
        };
        let expressions = |demand: &str| affinity("matchExpressions", demand);
        for (spec, reason) in [
            (tolerant.to_owned(), None),
            (r#""priority":0"#.to_owned(), Some("TaintToleration")),
            (format!(r#""nodeSelector":{{"disk":"ssd"}},{tolerant}"#), None),
            (format!(r#""nodeSelector":{{"disk":"hdd"}},{tolerant}"#), Some("NodeAffinity")),
            (expressions(r#"{"key":"cores","operator":"Gt","values":["3"]}"#), None),
            (expressions(r#"{"key":"cores","operator":"Lt","values":["3"]}"#), Some("NodeAffinity")),
            (expressions(r#"{"key":"disk","operator":"NotIn","values":["ssd"]}"#), Some("NodeAffinity")),
            (expressions(r#"{"key":"other","operator":"DoesNotExist"}"#), None),
            (affinity("matchFields", r#"{"key":"metadata.name","operator":"In","values":["n1"]}"#), None),
            (affinity("matchFields", ""), Some("NodeAffinity")),
        ] {
            let wanted = pod("a", &format!(r#"{{"containers":[],{spec}}}"#));
            let found = unfit(&Question {
                wanted: &wanted,
                pods: &[],
                machine: &machine,
                node: Some(&node),
                pressure: Pressure::default(),
                taken: &Default::default(),
            });
            assert_eq!(found.as_ref().map(|(reason, _)| reason.as_str()), reason, "{spec}");
        }
    }
}

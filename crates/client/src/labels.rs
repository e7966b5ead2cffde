//! Label selectors of typed objects (`metav1.LabelSelector`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// An object's labels.
pub type Labels = BTreeMap<String, String>;

/// Whether labels match a selector. An empty selector matches everything.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let has_all = selector.match_labels.as_ref().is_none_or(|wanted| contains_all(labels, wanted));
    has_all && selector.match_expressions.iter().flatten().all(|requirement| meets(requirement, labels))
}

/// Whether labels hold every pair of `wanted`.
pub fn contains_all(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
}

fn meets(requirement: &LabelSelectorRequirement, labels: Option<&Labels>) -> bool {
    let value = labels.and_then(|l| l.get(&requirement.key));
    let listed = value.is_some_and(|v| requirement.values.iter().flatten().any(|wanted| wanted == v));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// Whether a selector selects nothing in particular (no labels, no expressions).
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|l| l.is_empty())
        && selector.match_expressions.as_ref().is_none_or(|e| e.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_follow_the_api() {
        let labels: Labels = [("app".to_owned(), "web".to_owned())].into();
        let cases = [
            ("app", "In", vec!["web", "db"], true),
            ("app", "In", vec!["db"], false),
            ("app", "NotIn", vec!["db"], true),
            ("tier", "NotIn", vec!["db"], true),
            ("app", "Exists", vec![], true),
            ("tier", "DoesNotExist", vec![], true),
            ("app", "Unheard", vec![], false),
        ];
        for (key, operator, values, expected) in cases {
            let requirement = LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            };
            let selector = LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None };
            assert_eq!(matches(&selector, Some(&labels)), expected, "{key} {operator} {values:?}");
        }
    }
}

//! Warnings about pod specs.

use machinery::json::Value;

use crate::read::Read;

const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

/// What is deprecated or without effect, with paths below `at` (`spec` or `spec.template.spec`).
pub(crate) fn of(spec: &Value, at: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for label in spec.entries("nodeSelector").keys() {
        if let Some(text) = deprecated_label(label) {
            warnings.push(format!("{at}.nodeSelector[{label}]: {text}"));
        }
    }
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        if volume.has("gitRepo") {
            warnings.push(format!("{at}.volumes[{index}].gitRepo: deprecated in v1.11"));
        }
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in spec.items(list).iter().enumerate() {
            warn_hidden_variables(container, &format!("{at}.{list}[{index}]"), &mut warnings);
        }
    }
    if spec.int("terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        let text = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{at}.terminationGracePeriodSeconds: {text}"));
    }
    warnings
}

/// Labels in expressions of a node selector's term (or a topology's), at `at[INDEX].key`, which have new names.
pub(crate) fn of_node_expressions(term: &Value, at: &str, warnings: &mut Vec<String>) {
    for (index, expression) in term.items("matchExpressions").iter().enumerate() {
        let key = expression.text("key");
        if let Some(text) = deprecated_label(key) {
            warnings.push(format!("{at}[{index}].key: {key} is {text}"));
        }
    }
}

/// What upstream says of a label of nodes that has a new name.
pub(crate) fn deprecated_label(label: &str) -> Option<String> {
    let (_, since, instead) = OLD_LABELS.iter().find(|(old, ..)| *old == label)?;
    Some(format!("deprecated since {since}; use {instead:?} instead"))
}

/// The new name of a label of nodes.
pub(crate) fn renamed_label(label: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, ..)| *old == label).map(|(_, _, instead)| *instead)
}

/// Labels of a `nodeSelector` that have new names, with what is said of them at a path.
pub(crate) fn of_labels(tree: &Value, at: &str) -> Vec<String> {
    tree.entries("nodeSelector").keys().filter_map(deprecated_label).map(|text| format!("{at}: {text}")).collect()
}

fn warn_hidden_variables(container: &Value, at: &str, warnings: &mut Vec<String>) {
    let variables = container.items("env");
    for (index, variable) in variables.iter().enumerate() {
        let name = variable.text("name");
        let uses_itself = variable.text("value").contains(&format!("$({name})"));
        if variables[..index].iter().any(|v| v.text("name") == name) && !uses_itself {
            let text = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            warnings.push(format!("{at}.env[{index}]: {text}"));
        }
    }
}

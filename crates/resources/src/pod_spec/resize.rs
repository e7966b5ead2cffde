//! An update through `resize`: CPU and memory of containers and of the pod as a whole (KEP-1287, KEP-5419), and nothing else.

use machinery::field::FieldError;
use machinery::json::{Map, Value};

use super::qos;
use crate::difference::normalized;
use crate::place::{Place, Report};
use crate::read::{Read, items_mut};

const MIRROR: &str = "kubernetes.io/config.mirror";
const ONLY_COMPUTE: &str = "only cpu and memory resources are mutable";

/// What is wrong with a resize. `errors` has what is wrong with the pod in itself.
pub(crate) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (spec, before) = (new.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
    let never = match before.str_at(&["os", "name"]) {
        _ if old.at(&["metadata", "annotations", MIRROR]).is_some() => Some("static pods cannot be resized"),
        Some("windows") => Some("windows pods cannot be resized"),
        _ => None,
    };
    if let Some(detail) = never {
        errors.clear();
        return errors.forbidden(&Place::root(""), detail);
    }
    let at = Place::root("spec");
    validate_pod(new, old, &at, errors);
    let mut munged = spec.clone();
    validate_whole(spec, before, &mut munged, &at, errors);
    let found = errors.len();
    for list in ["containers", "initContainers"] {
        validate_order(spec, before, list, &at, errors);
    }
    if errors.len() > found {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (index, (container, before)) in spec.items(list).iter().zip(before.items(list)).enumerate() {
            let place = at.field(list);
            let place = place.index(index);
            validate_kept(container.get("resources"), before.get("resources"), "", &place.field("resources"), errors);
        }
    }
    validate_containers(before, &mut munged, &at, errors);
    validate_init_containers(before, &mut munged, &at, errors);
    if errors.is_empty() && normalized(&munged) != normalized(before) {
        errors.forbidden(&at, ONLY_COMPUTE);
    }
}

fn validate_pod(new: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let known = old.str_at(&["status", "qosClass"]).filter(|class| !class.is_empty());
    if known.unwrap_or_else(|| qos::class(old)) != qos::class(new) {
        let told = new.str_at(&["status", "qosClass"]).unwrap_or_default();
        errors.invalid(at, told, "Pod QOS Class may not change as a result of resizing");
    }
    let statuses = old.get("status").map(|status| status.items("containerStatuses")).unwrap_or_default();
    // A node that can resize says what its containers have.
    let running = statuses.iter().find(|status| status.at(&["state", "running"]).is_some());
    if running.is_some_and(|status| status.present("resources").is_none()) {
        errors.forbidden(at, "Pod running on node without support for resize");
    }
}

/// The pod's own resources, which are put back into `munged` as they were.
fn validate_whole(spec: &Value, before: &Value, munged: &mut Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let asks = |resources: &&Value| ["requests", "limits"].iter().any(|list| !resources.entries(list).is_empty());
    let (new, old) = (spec.present("resources"), before.present("resources"));
    if new.filter(asks).is_none() && old.filter(asks).is_none() {
        return;
    }
    let place = at.field("resources");
    let Some(new) = new else { return errors.forbidden(&place, "pod-level resources cannot be removed") };
    validate_kept(Some(new), old, "pod-level ", &place, errors);
    let kept = with_compute_of(new, old);
    if normalized(&kept) != normalized(old.unwrap_or(&Value::object())) {
        errors.forbidden(at, "only cpu and memory resources are mutable at pod-level");
    }
    match kept.as_object().is_some_and(Map::is_empty) {
        true => _ = munged.remove_at(&["resources"]),
        false => munged.set_at(&["resources"], kept),
    }
}

fn validate_order(spec: &Value, before: &Value, list: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let place = at.field(list);
    if spec.items(list).len() != before.items(list).len() {
        return errors.forbidden(&place, &format!("{list} may not be added or removed on resize"));
    }
    for (index, (container, before)) in spec.items(list).iter().zip(before.items(list)).enumerate() {
        if container.text("name") != before.text("name") {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.forbidden(&place.index(index).field("name"), &detail);
        }
    }
}

/// What was asked for stays asked for, if with another quantity.
fn validate_kept(new: Option<&Value>, old: Option<&Value>, whose: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for list in ["requests", "limits"] {
        let has = |name: &str| new.is_some_and(|new| new.entries(list).get(name).is_some());
        if old.is_some_and(|old| old.entries(list).keys().any(|name| !has(name))) {
            errors.forbidden(&at.field(list), &format!("{whose}resource {list} cannot be removed"));
        }
    }
}

fn validate_containers(before: &Value, munged: &mut Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (container, before) in items_mut(munged, "containers").iter_mut().zip(before.items("containers")) {
        put_back(container, before);
        if normalized(container) != normalized(before) {
            errors.forbidden(at, ONLY_COMPUTE);
        }
    }
}

fn validate_init_containers(before: &Value, munged: &mut Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("initContainers");
    let containers = items_mut(munged, "initContainers").iter_mut().zip(before.items("initContainers"));
    for (index, (container, before)) in containers.enumerate() {
        let is_changed = normalized(container) != normalized(before);
        put_back(container, before);
        if normalized(container) != normalized(before) {
            let detail = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.forbidden(&list.index(index), detail);
        }
        let is_sidecar = container.text("restartPolicy") == "Always";
        let restarts = |policy: &Value| policy.text("restartPolicy") == "RestartContainer";
        if is_changed && !is_sidecar && container.items("resizePolicy").iter().any(restarts) {
            let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.forbidden(&list.index(index), detail);
        }
    }
}

/// Gives a container the CPU and memory that it had.
fn put_back(container: &mut Value, before: &Value) {
    let (new, old) = (container.present("resources"), before.present("resources"));
    if new.is_none() && old.is_none() {
        return;
    }
    let kept = with_compute_of(new.unwrap_or(&Value::object()), old);
    match old.is_none() && kept.as_object().is_some_and(Map::is_empty) {
        true => _ = container.remove_at(&["resources"]),
        false => container.set_at(&["resources"], kept),
    }
}

/// Resources with the CPU and memory of others.
fn with_compute_of(resources: &Value, old: Option<&Value>) -> Value {
    let mut resources = resources.clone();
    for list in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            match old.and_then(|old| old.at(&[list, name])) {
                Some(value) => resources.set_at(&[list, name], value.clone()),
                None => _ = resources.remove_at(&[list, name]),
            }
        }
        if resources.get(list).and_then(Value::as_object).is_some_and(Map::is_empty) {
            resources.remove_at(&[list]);
        }
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"spec":{"resources":{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"2"}},
        "initContainers":[{"name":"i","resizePolicy":[{"resourceName":"cpu","restartPolicy":"RestartContainer"}]},
            {"name":"s","restartPolicy":"Always"}],
        "containers":[{"name":"a","image":"x","resources":{"requests":{"cpu":"1"}}},{"name":"b"}]},
        "status":{"qosClass":"Burstable","containerStatuses":[{"state":{"running":{}},"resources":{}}]}}"#;

    fn found(old: &str, replace: &str, with: &str) -> Vec<String> {
        assert!(old.contains(replace), "{replace}");
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let mut errors = Vec::new();
        validate(&parse(&old.replace(replace, with)), &parse(old), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    /// What stands in the pod, what stands there instead, and what is wrong with that.
    #[test]
    fn cpu_and_memory_may_change_and_nothing_else() {
        let whole = r#""resources":{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"2"}},"#;
        let cases: [(&str, &str, &[&str]); 15] = [
            (r#"{"name":"a","#, r#"{"name":"a","#, &[]),
            (r#""requests":{"cpu":"1"}"#, r#""requests":{"cpu":"2"},"limits":{"memory":"1Gi"}"#, &[]),
            (r#""requests":{"cpu":"1","memory":"1Gi"}"#, r#""requests":{"cpu":"1500m","memory":"2Gi"}"#, &[]),
            (r#"{"name":"s","#, r#"{"name":"s","resources":{"limits":{"cpu":"1"}},"#, &[]),
            (whole, "", &["spec.resources: Forbidden: pod-level resources cannot be removed"]),
            (
                r#","memory":"1Gi"}"#,
                "}",
                &["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"],
            ),
            (
                r#""limits":{"cpu":"2"}"#,
                r#""limits":{"cpu":"2","hugepages-2Mi":"2Mi"}"#,
                &["spec: Forbidden: only cpu and memory resources are mutable at pod-level"],
            ),
            (
                r#""requests":{"cpu":"1"}"#,
                r#""requests":{}"#,
                &["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                r#""requests":{"cpu":"1"}"#,
                r#""requests":{"cpu":"1","ephemeral-storage":"1Gi"}"#,
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (r#""image":"x""#, r#""image":"y""#, &["spec: Forbidden: only cpu and memory resources are mutable"]),
            (
                r#""name":"b""#,
                r#""name":"c""#,
                &["spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"],
            ),
            (r#",{"name":"b"}"#, "", &["spec.containers: Forbidden: containers may not be added or removed on resize"]),
            (
                r#"{"name":"i","#,
                r#"{"name":"i","resources":{"limits":{"cpu":"1"}},"#,
                &["spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of \
                   RestartContainer cannot be resized"],
            ),
            (
                r#"{"name":"s","#,
                r#"{"name":"s","image":"y","#,
                &["spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers \
                   are mutable"],
            ),
            (
                r#""spec":{"#,
                r#""spec":{"nodeName":"n","#,
                &["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
        ];
        for (replace, with, wanted) in cases {
            assert_eq!(found(POD, replace, with), wanted, "{with}");
        }
    }

    #[test]
    fn some_pods_are_never_resized() {
        let guaranteed = POD.replace("Burstable", "Guaranteed");
        let detail = "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing";
        assert_eq!(found(&guaranteed, "1Gi", "2Gi"), [detail]);
        let old_node = POD.replace(r#","resources":{}"#, "");
        assert_eq!(found(&old_node, "1Gi", "2Gi"), ["spec: Forbidden: Pod running on node without support for resize"]);
        let windows = POD.replace(r#""spec":{"#, r#""spec":{"os":{"name":"windows"},"#);
        assert_eq!(found(&windows, "1Gi", "2Gi"), [": Forbidden: windows pods cannot be resized"]);
        let mirror = r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}},"#;
        let mirror = POD.replacen('{', mirror, 1);
        assert_eq!(found(&mirror, "1Gi", "2Gi"), [": Forbidden: static pods cannot be resized"]);
    }
}

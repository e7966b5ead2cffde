//! LimitRanger: containers get the amounts that the namespace's limit ranges give by default, and what is beyond their bounds
//! is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use machinery::amounts::{Amounts, amounts, containers, pod_total};
use machinery::object::ObjectExt;
use machinery::quantity::Quantity;
use machinery::{ApiError, Entry, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

/// Says which amounts were given.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Up to here amounts are compared by their thousandths (upstream's `MaxMilliValue`).
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !is_of_a_pod(review) {
            return Ok(());
        }
        for range in ranges(review) {
            give_defaults(review.object, range.tree());
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        let check: fn(&Value, &Value, &mut Vec<String>) = match (is_of_a_pod(review), is_of_a_claim(review)) {
            (true, _) => check_pod,
            (_, true) => check_claim,
            _ => return Ok(()),
        };
        for range in ranges(review) {
            let mut problems = Vec::new();
            for limit in limits(range.tree()) {
                check(limit, review.object, &mut problems);
            }
            if !problems.is_empty() {
                return Err(review.forbidden(&told(&problems)));
            }
        }
        Ok(())
    }
}

/// Pods when they are made, and when they are resized: nothing else changes what they ask for.
fn is_of_a_pod(review: &Review<'_>) -> bool {
    review.is(Operation::Create, "pods")
        || (review.operation == Operation::Update
            && review.target == Target::Subresource("resize")
            && review.is_core("pods"))
}

fn is_of_a_claim(review: &Review<'_>) -> bool {
    let claims = "persistentvolumeclaims";
    review.is(Operation::Create, claims) || review.is(Operation::Update, claims)
}

/// The limit ranges of the namespace. What is on its way out is left alone.
fn ranges(review: &Review<'_>) -> Vec<Arc<Entry>> {
    if review.old.is_some_and(ObjectExt::is_deleting) {
        return Vec::new();
    }
    let Some(kind) = review.kinds.get("", "v1", "limitranges") else { return Vec::new() };
    let all = kind.cache.stretch(&kind.row.key(review.namespace, ""), None, 0);
    all.items.into_iter().map(|(_, entry)| entry).collect()
}

fn limits(range: &Value) -> &[Value] {
    range.at(&["spec", "limits"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn kind_of(limit: &Value) -> &str {
    limit.str_at(&["type"]).unwrap_or_default()
}

/// Gives containers what they do not ask for and a range has defaults for.
fn give_defaults(pod: &mut Value, range: &Value) {
    let mut given = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(containers) = pod.at_mut(&["spec", list]).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let name = container.str_at(&["name"]).unwrap_or_default().to_owned();
            // Defaults of a range's later items win, and are told in the order in which upstream sets them.
            let limits_given = fill(container, range, "limits", "default");
            let requests_given = fill(container, range, "requests", "defaultRequest");
            for (names, what) in [(requests_given, "request"), (limits_given, "limit")] {
                if !names.is_empty() {
                    let names = names.into_iter().collect::<Vec<_>>().join(", ");
                    given.push(format!("{names} {what} for {word} {name}"));
                }
            }
        }
    }
    if !given.is_empty() {
        let text = format!("LimitRanger plugin set: {}", given.join("; "));
        pod.set_at(&["metadata", "annotations", ANNOTATION], text);
    }
}

/// Fills one list of a container's resources; gives the names of what was set.
fn fill(container: &mut Value, range: &Value, list: &str, defaults: &str) -> BTreeSet<String> {
    let mut wanted = std::collections::BTreeMap::new();
    for limit in limits(range).iter().filter(|limit| kind_of(limit) == "Container") {
        for (name, amount) in limit.get(defaults).and_then(Value::as_object).into_iter().flat_map(|o| o.iter()) {
            wanted.insert(name.to_owned(), amount.clone());
        }
    }
    wanted.retain(|name, _| container.at(&["resources", list, name]).is_none());
    for (name, amount) in &wanted {
        container.set_at(&["resources", list, name], amount.clone());
    }
    wanted.into_keys().collect()
}

fn check_pod(limit: &Value, pod: &Value, problems: &mut Vec<String>) {
    match kind_of(limit) {
        "Container" => {
            for container in containers(pod, "containers").iter().chain(containers(pod, "initContainers")) {
                let asked = |list: &str| amounts(container.at(&["resources", list]));
                check_amounts(limit, &asked("requests"), &asked("limits"), problems);
            }
        }
        "Pod" => check_amounts(limit, &pod_total(pod, "requests"), &pod_total(pod, "limits"), problems),
        _ => {}
    }
}

fn check_amounts(limit: &Value, requests: &Amounts, limits: &Amounts, problems: &mut Vec<String>) {
    let kind = kind_of(limit);
    for (name, least) in amounts(limit.get("min")) {
        problems.extend(below(kind, &name, &least, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in amounts(limit.get("max")) {
        problems.extend(above(kind, &name, &most, requests.get(&name), limits.get(&name)));
    }
    for (name, ratio) in amounts(limit.get("maxLimitRequestRatio")) {
        problems.extend(beyond_ratio(kind, &name, &ratio, requests.get(&name), limits.get(&name)));
    }
}

fn check_claim(limit: &Value, claim: &Value, problems: &mut Vec<String>) {
    let kind = kind_of(limit);
    if kind != "PersistentVolumeClaim" {
        return;
    }
    let requests = amounts(claim.at(&["spec", "resources", "requests"]));
    for (name, least) in amounts(limit.get("min")) {
        problems.extend(below(kind, &name, &least, requests.get(&name), None));
    }
    for (name, most) in amounts(limit.get("max")) {
        let bound = format!("maximum {name} usage per {kind} is {most}");
        match requests.get(&name) {
            None => problems.push(format!("{bound}.  No request is specified")),
            Some(request) if request > &most => problems.push(format!("{bound}, but request is {request}")),
            Some(_) => {}
        }
    }
}

/// What is wrong with amounts that have to reach a bound.
fn below(
    kind: &str,
    name: &str,
    least: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{bound}.  No request is specified")),
        (Some(request), _) if request < least => Some(format!("{bound}, but request is {request}")),
        (_, Some(limit)) if limit < least => Some(format!("{bound}, but limit is {limit}")),
        _ => None,
    }
}

/// What is wrong with amounts that have to stay within a bound.
fn above(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{bound}.  No limit is specified")),
        (_, Some(limit)) if limit > most => Some(format!("{bound}, but limit is {limit}")),
        (Some(request), _) if request > most => Some(format!("{bound}, but request is {request}")),
        _ => None,
    }
}

fn beyond_ratio(
    kind: &str,
    name: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let bound = format!("{name} max limit to request ratio per {kind} is {most}");
    let Some(request) = request.filter(|q| !q.is_zero()) else {
        return Some(format!("{bound}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|q| !q.is_zero()) else {
        return Some(format!("{bound}, but no limit is specified or limit is 0"));
    };
    let is_small = [request, limit, most].iter().all(|q| q.value() <= MILLI_VALUE_MAX);
    let number = |q: &Quantity| if is_small { q.milli_value() } else { q.value() };
    let ratio = number(limit) as f64 / number(request) as f64;
    (ratio > most.as_f64()).then(|| format!("{bound}, but provided ratio is {ratio:.6}"))
}

/// Several problems as upstream's aggregated errors read.
fn told(problems: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for problem in problems {
        if !once.contains(&problem.as_str()) {
            once.push(problem);
        }
    }
    if let [only] = once[..] { only.to_owned() } else { format!("[{}]", once.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn defaults_fill_what_is_not_asked_for() {
        let range = parse(
            r#"{"spec":{"limits":[{"type":"Container","default":{"cpu":"500m","memory":"500Mi"},"defaultRequest":{"cpu":"100m"}}]}}"#,
        );
        let mut pod = parse(
            r#"{"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"a","resources":{"limits":{"cpu":"1"}}}]}}"#,
        );
        give_defaults(&mut pod, &range);
        let text = pod.to_string();
        for wanted in [
            r#""name":"i","resources":{"limits":{"cpu":"500m","memory":"500Mi"},"requests":{"cpu":"100m"}}"#,
            r#""name":"a","resources":{"limits":{"cpu":"1","memory":"500Mi"},"requests":{"cpu":"100m"}}"#,
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; \
             cpu request for init container i; cpu, memory limit for init container i",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_told() {
        let none = "{}";
        let half = r#"{"requests":{"cpu":"500m"},"limits":{"cpu":"1500m"}}"#;
        let cases = [
            (r#"{"type":"Container","min":{"cpu":"500m"}}"#, half, ""),
            (
                r#"{"type":"Container","min":{"cpu":"600m"}}"#,
                half,
                "minimum cpu usage per Container is 600m, but request is 500m",
            ),
            (r#"{"type":"Pod","max":{"cpu":"1"}}"#, half, "maximum cpu usage per Pod is 1, but limit is 1500m"),
            (
                r#"{"type":"Container","max":{"cpu":"1"}}"#,
                none,
                "maximum cpu usage per Container is 1.  No limit is specified",
            ),
            (
                r#"{"type":"Container","maxLimitRequestRatio":{"cpu":"2"}}"#,
                half,
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                r#"{"type":"Container","min":{"cpu":"1","memory":"1Gi"}}"#,
                none,
                "[minimum cpu usage per Container is 1.  No request is specified, minimum memory usage per Container is 1Gi.  \
                 No request is specified]",
            ),
        ];
        for (limit, resources, wanted) in cases {
            let pod = parse(&format!(r#"{{"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#));
            let mut problems = Vec::new();
            check_pod(&parse(limit), &pod, &mut problems);
            let text = if problems.is_empty() { String::new() } else { told(&problems) };
            assert_eq!(text, wanted, "{limit}");
        }
    }

    #[test]
    fn claims_stay_within_bounds() {
        let limit = parse(r#"{"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"10Gi"}}"#);
        for (size, wanted) in [
            ("5Gi", None),
            ("20Gi", Some("maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi")),
            ("1Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")),
        ] {
            let claim = parse(&format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#));
            let mut problems = Vec::new();
            check_claim(&limit, &claim, &mut problems);
            assert_eq!(problems.first().map(String::as_str), wanted, "{size}");
        }
    }
}

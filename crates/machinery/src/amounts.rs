//! Amounts of resources, as containers ask for them, and what pods ask for in all.

use std::collections::BTreeMap;

use crate::json::Value;
use crate::quantity::Quantity;

/// Quantities by the name of the resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a `ResourceList`.
pub fn amounts(list: Option<&Value>) -> Amounts {
    let entries = list.and_then(Value::as_object).into_iter().flat_map(|map| map.iter());
    entries.filter_map(|(name, value)| Some((name.to_owned(), quantity(value)?))).collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Integer(number) => Quantity::parse(&number.to_string()).ok(),
        Value::Float(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// The containers of a pod by the name of their list; none is an empty list.
pub fn containers<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod.at(&["spec", list]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a pod asks for in all; `list` is `requests` or `limits`. Init containers run one after the other beside the sidecars
/// that were started before them; what the pod asks for as a whole counts instead of what its containers do (KEP-753, KEP-2837).
pub fn pod_total(pod: &Value, list: &str) -> Amounts {
    let asked = |container: &Value| amounts(container.at(&["resources", list]));
    let mut total = Amounts::new();
    for container in containers(pod, "containers") {
        add(&mut total, &asked(container));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in containers(pod, "initContainers") {
        let mut at_once = asked(container);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            add(&mut total, &at_once);
            add(&mut sidecars, &at_once);
            at_once = sidecars.clone();
        } else {
            add(&mut at_once, &sidecars);
        }
        raise(&mut most, at_once);
    }
    raise(&mut total, most);
    total.extend(amounts(pod.at(&["spec", "resources", list])));
    total
}

/// Adds to a total.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        total.entry(name.clone()).or_default().add(amount);
    }
}

/// Takes from a total.
pub fn subtract(total: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        total.entry(name.clone()).or_default().sub(amount);
    }
}

/// As upstream writes them in messages: `cpu=1,memory=2Gi`.
pub fn told(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// As a `ResourceList`.
pub fn to_value(amounts: &Amounts) -> Value {
    let mut list = Value::object();
    for (name, amount) in amounts {
        list.set_at(&[name], amount.to_string());
    }
    list
}

/// Puts the larger of both into `most`.
fn raise(most: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let known = most.entry(name).or_default();
        if amount > *known {
            *known = amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_ask_for() {
        let cases = [
            (
                r#"{"containers":[{"resources":{"requests":{"cpu":"1"}}},{"resources":{"requests":{"cpu":"500m"}}}]}"#,
                "1500m",
            ),
            (
                r#"{"initContainers":[{"resources":{"requests":{"cpu":"3"}}}],"containers":[{"resources":{"requests":{"cpu":"1"}}}]}"#,
                "3",
            ),
            // A sidecar runs beside those that come after it.
            (
                r#"{"initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}},{"resources":{"requests":{"cpu":"3"}}}],
                "containers":[{"resources":{"requests":{"cpu":"1"}}}]}"#,
                "4",
            ),
            (r#"{"resources":{"requests":{"cpu":"7"}},"containers":[{"resources":{"requests":{"cpu":"1"}}}]}"#, "7"),
        ];
        for (spec, wanted) in cases {
            let pod = Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap();
            assert_eq!(pod_total(&pod, "requests")["cpu"].to_string(), wanted, "{spec}");
            assert!(pod_total(&pod, "limits").is_empty());
        }
    }
}

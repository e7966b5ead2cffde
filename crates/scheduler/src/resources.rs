//! How much of each resource a pod asks for and a node has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::quantity::Quantity;

/// What a container without requests counts for when nodes are compared (upstream's defaults): 0.1 CPU and 200 MB.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources by name: CPU in thousandths, everything else in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

type List = BTreeMap<String, ApiQuantity>;

impl Resources {
    /// Reads a resource list. What cannot be read counts as nothing: the API server has checked it.
    pub fn read(list: &List) -> Self {
        Self(list.iter().map(|(name, quantity)| (name.clone(), amount(name, &quantity.0))).collect())
    }

    /// How much of one.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All that is not zero.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().filter(|(_, n)| **n != 0).map(|(name, n)| (name.as_str(), *n))
    }

    /// Adds `times` (1 or -1) what another holds.
    pub fn add(&mut self, other: &Self, times: i64) {
        for (name, n) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(n.saturating_mul(times));
        }
    }

    /// Raises each to at least what another holds.
    fn raise(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*n);
        }
    }

    fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }
}

fn amount(name: &str, text: &str) -> i64 {
    let Ok(quantity) = Quantity::parse(text) else { return 0 };
    if name == "cpu" { quantity.milli_value() } else { quantity.value() }
}

/// What a pod asks for (KEP-753, KEP-2837): its containers and sidecars together, or the most demanding moment of its
/// start, and its overhead. What is asked for at the level of the pod stands for the containers' sum.
pub fn requests(pod: &Pod) -> Resources {
    sum(pod, |container| {
        container.resources.as_ref().and_then(|r| r.requests.as_ref()).map(Resources::read).unwrap_or_default()
    })
}

/// The same, with something for containers that ask for nothing: for comparing nodes.
pub fn weights(pod: &Pod) -> Resources {
    sum(pod, |container| {
        let list = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        let mut asked = list.map(Resources::read).unwrap_or_default();
        for (name, default) in [("cpu", DEFAULT_MILLI_CPU), ("memory", DEFAULT_MEMORY)] {
            if !list.is_some_and(|l| l.contains_key(name)) {
                asked.set(name, default);
            }
        }
        asked
    })
}

fn sum(pod: &Pod, asked: impl Fn(&Container) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut total = Resources::default();
    spec.containers.iter().for_each(|container| total.add(&asked(container), 1));
    let (mut sidecars, mut start) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = asked(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own, 1);
            start.raise(&sidecars);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&own, 1);
            start.raise(&moment);
        }
    }
    total.add(&sidecars, 1);
    total.raise(&start);
    pod_level(spec, &mut total);
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::read(overhead), 1);
    }
    total
}

fn pod_level(spec: &PodSpec, total: &mut Resources) {
    let asked = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).map(Resources::read).unwrap_or_default();
    for (name, amount) in asked.0 {
        total.set(&name, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": json})).unwrap()
    }

    fn container(cpu: &str, always: bool) -> serde_json::Value {
        let policy = always.then_some("Always");
        serde_json::json!({"name": "c", "resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy})
    }

    #[test]
    fn the_most_demanding_moment_counts() {
        let cases = [
            (vec![], vec![container("100m", false), container("200m", false)], 300),
            (vec![container("1", false)], vec![container("100m", false)], 1000),
            (vec![container("100m", true), container("1", false)], vec![container("500m", false)], 1100),
            (vec![container("2", false), container("100m", true)], vec![container("500m", false)], 2000),
        ];
        for (init, main, expected) in cases {
            let pod = pod(serde_json::json!({"containers": main, "initContainers": init}));
            assert_eq!(requests(&pod).get("cpu"), expected, "{pod:?}");
        }
    }

    #[test]
    fn overhead_is_added_and_the_pod_level_wins() {
        let pod = pod(serde_json::json!({
            "containers": [container("100m", false)],
            "resources": {"requests": {"cpu": "3"}},
            "overhead": {"cpu": "50m", "memory": "1Mi"},
        }));
        assert_eq!((requests(&pod).get("cpu"), requests(&pod).get("memory")), (3050, 1 << 20));
        assert_eq!(
            weights(&Pod {
                spec: Some(PodSpec { containers: vec![Container::default()], ..PodSpec::default() }),
                ..Pod::default()
            })
            .get("cpu"),
            100
        );
    }
}

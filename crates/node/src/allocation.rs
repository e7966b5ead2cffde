//! What the node gave a pod: its requests and limits as they were admitted, whatever the API asks for since (KEP-1287).
//! Kept on disk, so that an agent that starts anew knows what it promised.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::resources::{Qos, pod_request, qos};
use crate::quantity;
use crate::wanted::{Role, Wanted};

/// Its name in the pod's directory.
const FILE: &str = "allocation.json";

/// The resources of a pod and its containers; of the spec nothing else is filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation(PodSpec);

/// Why a change of resources has to wait (the condition PodResizePending).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred`: when room appears. `Infeasible`: never on this node.
    pub reason: &'static str,
    /// More, for people.
    pub message: String,
    /// `metadata.generation` of what was asked for.
    pub generation: Option<i64>,
    /// Since when it waits.
    pub since: Timestamp,
}

fn bare(container: &Container) -> Container {
    let (name, resources) = (container.name.clone(), container.resources.clone());
    Container { name, resources, ..Container::default() }
}

/// CPU, memory and all else of both lists, in thousandths.
fn amounts(resources: Option<&ResourceRequirements>) -> BTreeMap<(bool, &str), i64> {
    let mut all = BTreeMap::new();
    if let Some(resources) = resources {
        for (limits, map) in [(false, &resources.requests), (true, &resources.limits)] {
            all.extend(map.iter().flatten().map(|(name, amount)| ((limits, name.as_str()), quantity::milli(amount))));
        }
    }
    all
}

/// Whether both ask for the same amounts, however they are written.
pub fn same(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    amounts(a) == amounts(b)
}

impl Allocation {
    /// What a pod asks for. A BestEffort pod asks for nothing, and can never ask for more.
    pub fn of(wanted: &Wanted) -> Option<Self> {
        let spec = wanted.spec();
        let init: Vec<Container> = spec.init_containers.iter().flatten().map(bare).collect();
        let own = PodSpec {
            containers: spec.containers.iter().map(bare).collect(),
            init_containers: (!init.is_empty()).then_some(init),
            resources: spec.resources.clone(),
            ..PodSpec::default()
        };
        (qos(wanted) != Qos::BestEffort).then_some(Self(own))
    }

    /// What was kept in a pod's directory.
    pub fn read(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(FILE)).ok()?;
        match serde_json::from_slice(&text) {
            Ok(spec) => Some(Self(spec)),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "what was allocated to a pod cannot be read");
                None
            }
        }
    }

    /// Keeps it. The file is whole at any time.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let fresh = directory.join(format!("{FILE}.new"));
        std::fs::write(&fresh, serde_json::to_vec(&self.0)?)?;
        std::fs::rename(fresh, directory.join(FILE))
    }

    fn container(&self, name: &str) -> Option<&Container> {
        let all = self.0.init_containers.iter().flatten().chain(&self.0.containers);
        all.into_iter().find(|c| c.name == name)
    }

    /// The pod with what it was given in place of what it asks for; the very same when there is no difference.
    pub fn laid_over(&self, asked: &Arc<Wanted>) -> Arc<Wanted> {
        let spec = asked.spec();
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let kept = |c: &Container| {
            self.container(&c.name).is_none_or(|own| same(own.resources.as_ref(), c.resources.as_ref()))
        };
        if all.all(kept) && same(self.0.resources.as_ref(), spec.resources.as_ref()) {
            return asked.clone();
        }
        let mut pod = asked.pod.as_ref().clone();
        if let Some(spec) = &mut pod.spec {
            let own = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
            for container in own {
                if let Some(given) = self.container(&container.name) {
                    container.resources = given.resources.clone();
                }
            }
            spec.resources = self.0.resources.clone();
        }
        Arc::new(Wanted::new(Arc::new(pod)))
    }
}

/// The order in which pods are asked whether what they wait for fits now: who does not ask for more, then the more
/// important, then Guaranteed, then who waits longest.
pub fn order(asked: &Wanted, given: &Wanted, since: Option<Timestamp>) -> impl Ord + use<> {
    let more = [("cpu", quantity::milli as fn(&Quantity) -> i64), ("memory", quantity::value)];
    let more = more.iter().any(|(name, read)| pod_request(asked, name, *read) > pod_request(given, name, *read));
    let priority = asked.spec().priority.unwrap_or(0);
    (more, Reverse(priority), qos(asked) != Qos::Guaranteed, since.is_none(), since)
}

/// The text of the events on a pod's resize: what happened, and the resources of its containers.
pub fn event_text(what: &str, wanted: &Wanted, generation: Option<i64>, error: Option<&str>) -> String {
    let list = |roles: &[Role]| {
        let own = wanted.members.iter().filter(|m| roles.contains(&m.role));
        let one = |m: &crate::wanted::Member| {
            let resources = m.spec.resources.clone().unwrap_or_default();
            let resources = serde_json::to_string(&resources).unwrap_or_default();
            format!(r#"{{"name":{:?},"resources":{resources}}}"#, m.name())
        };
        own.map(one).collect::<Vec<_>>().join(",")
    };
    let mut parts = Vec::new();
    for (name, text) in [("initContainers", list(&[Role::Sidecar])), ("containers", list(&[Role::Main]))] {
        if !text.is_empty() {
            parts.push(format!(r#""{name}":[{text}]"#));
        }
    }
    parts.push(format!(r#""generation":{}"#, generation.unwrap_or(0)));
    if let Some(error) = error.filter(|e| !e.is_empty()) {
        parts.push(format!(r#""error":{}"#, serde_json::Value::from(error)));
    }
    format!("Pod resize {what}: {{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;

    fn asking(uid: &str, more: &str, cpu: &str) -> Arc<Wanted> {
        pod(uid, &format!(r#"{{{more}"containers":[{{"name":"a","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}"#))
    }

    #[test]
    fn what_was_given_stays_until_more_is() {
        let directory = tempfile::tempdir().unwrap();
        let first = asking("p", "", "500m");
        let given = Allocation::of(&first).unwrap();
        given.write(directory.path()).unwrap();
        let given = Allocation::read(directory.path()).unwrap();
        assert!(Arc::ptr_eq(&given.laid_over(&first), &first));
        let as_much = asking("p", "", "0.5");
        assert!(Arc::ptr_eq(&given.laid_over(&as_much), &as_much), "the same amount in other words");
        let seen = given.laid_over(&asking("p", "", "2"));
        assert_eq!(pod_request(&seen, "cpu", quantity::milli), 500);
        assert!(Allocation::of(&pod("b", r#"{"containers":[{"name":"a"}]}"#)).is_none());
        assert!(Allocation::read(&directory.path().join("none")).is_none());
    }

    #[test]
    fn who_waits_is_asked_in_upstreams_order() {
        let at = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let given = asking("g", "", "1");
        let guaranteed =
            pod("sure", r#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"2","memory":"1Gi"}}}]}"#);
        let mut all = [
            ("late", asking("late", "", "2"), at(9)),
            ("early", asking("early", "", "2"), at(3)),
            ("sure", guaranteed, at(9)),
            ("important", asking("important", r#""priority":7,"#, "2"), at(9)),
            ("less", asking("less", "", "100m"), at(9)),
        ];
        all.sort_by_key(|(_, asked, since)| order(asked, &given, *since));
        assert_eq!(all.map(|(name, ..)| name), ["less", "important", "sure", "early", "late"]);
    }

    #[test]
    fn events_tell_the_resources() {
        let wanted = asking("p", "", "100m");
        let text = event_text("started", &wanted, Some(2), None);
        let resources = r#"{"requests":{"cpu":"100m"}}"#;
        let told = format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}],"generation":2}}"#);
        assert_eq!(text, format!("Pod resize started: {told}"));
        let text = event_text("Deferred", &wanted, Some(2), Some("no \"room\""));
        assert!(text.ends_with(r#""generation":2,"error":"no \"room\""}"#), "{text}");
    }
}

//! `/pods`, `/runningpods`, `/configz`.

use machinery::Value;
use machinery::json::to_value;

use super::used::Pod;
use crate::agent::Agent;
use crate::images::Verification;

fn list(items: Vec<Value>) -> Value {
    let mut list = Value::object();
    list.set_at(&["kind"], "PodList");
    list.set_at(&["apiVersion"], "v1");
    list.set_at(&["metadata"], Value::object());
    list.set_at(&["items"], items);
    list
}

/// `/pods`: what is to run here.
pub fn pods(agent: &Agent) -> Value {
    list(agent.pods().iter().filter_map(|w| to_value(w.pod.as_ref()).ok()).collect())
}

/// `/runningpods`: what does run here, as far as the runtime knows.
pub fn running(pods: &[Pod]) -> Value {
    let one = |pod: &Pod| {
        let mut tree = Value::object();
        tree.set_at(&["metadata", "name"], pod.sandbox.name.clone());
        tree.set_at(&["metadata", "namespace"], pod.sandbox.namespace.clone());
        tree.set_at(&["metadata", "uid"], pod.sandbox.uid.clone());
        let containers = pod.containers.iter().map(|container| {
            let mut own = Value::object();
            own.set_at(&["name"], container.name.clone());
            own.set_at(&["image"], container.image.clone());
            own.set_at(&["resources"], Value::object());
            own
        });
        tree.set_at(&["spec", "containers"], containers.collect::<Vec<_>>());
        tree.set_at(&["status"], Value::object());
        tree
    };
    list(pods.iter().map(one).collect())
}

/// `/configz`: the settings that upstream's kubelet has too.
pub fn configz(agent: &Agent) -> Value {
    let mut config = Value::object();
    config.set_at(&["clusterDomain"], agent.options.cluster_domain.clone());
    let dns: Vec<String> = agent.options.cluster_dns.iter().map(ToString::to_string).collect();
    config.set_at(&["clusterDNS"], dns);
    config.set_at(&["port"], i64::from(agent.options.listen.port()));
    config.set_at(&["maxPods"], agent.options.limits.pods);
    config.set_at(&["podPidsLimit"], agent.options.limits.pod_pids.unwrap_or(-1));
    config.set_at(&["containerLogMaxSize"], "10Mi");
    config.set_at(&["containerLogMaxFiles"], 5);
    config.set_at(&["authentication", "anonymous", "enabled"], false);
    config.set_at(&["authentication", "webhook", "enabled"], true);
    config.set_at(&["authorization", "mode"], "Webhook");
    let verification = &agent.options.image_verification;
    config.set_at(&["imagePullCredentialsVerificationPolicy"], verification.name());
    if let Verification::NotListed(images) = verification {
        let images: Vec<Value> = images.iter().map(|image| Value::from(image.to_string())).collect();
        config.set_at(&["preloadedImagesVerificationAllowlist"], images);
    }
    let mut tree = Value::object();
    tree.set_at(&["kubeletconfig"], config);
    tree
}

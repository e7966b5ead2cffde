//! Resources of running containers change in place (KEP-1287).

use super::*;

impl Worker {
    /// Gives the pod and its running containers the resources that they have now, in place (KEP-1287). The plan starts
    /// those anew that ask for it.
    pub(super) fn resize(&self, wanted: &Wanted) {
        let changed = |name: &str, now: &Member| {
            let before = self.wanted.member(name).map(|m| &m.spec.resources);
            before.is_some_and(|b| *b != now.spec.resources)
        };
        if wanted.members.iter().all(|m| !changed(m.name(), m)) {
            return;
        }
        let (runtime, machine) = (self.agent.options.runtime.clone(), &self.agent.machine);
        let pod = self
            .sandboxes
            .first()
            .map(|s| (s.id.clone(), resources::of_pod(wanted, self.agent.options.limits.pod_pids)));
        let running = self.containers.iter().filter(|c| c.state == ContainerState::Running);
        let members = running.filter_map(|c| Some((c.id.clone(), wanted.member(&c.name)?)));
        let members = members.filter(|(_, m)| changed(m.name(), m));
        let each = |(id, m): (String, &Member)| (id, resources::of_container(wanted, m, machine.memory_bytes));
        let containers: Vec<_> = members.map(each).collect();
        let agent = self.agent.clone();
        tokio::spawn(async move {
            agent.weigh_classes().await;
            // A limit can only be as large as that of the pod: the pod is asked before and after its containers.
            for _ in 0..2 {
                if let Some((id, resources)) = &pod
                    && let Err(error) = runtime.update_pod_sandbox(id, resources.clone()).await
                {
                    tracing::debug!(sandbox = id, %error, "the pod's resources are not changed yet");
                }
                for (id, resources) in &containers {
                    if let Err(error) = runtime.update_resources(id, resources.clone()).await {
                        tracing::warn!(container = id, %error, "resources not changed in place");
                    }
                }
            }
        });
    }
}

//! Recreate: all pods of the old templates go before the first of the new one comes.

use machinery::ApiError;

use super::{Deployments, Rollout, replicas_of, status};
use crate::{owners, pods};

impl Deployments {
    pub(super) async fn recreate(&self, rollout: &mut Rollout, news: &mut status::Progress) -> Result<(), ApiError> {
        let old: Vec<_> = rollout.old().filter(|set| replicas_of(set) > 0).cloned().collect();
        let mut scaled = false;
        for set in old {
            scaled |= self.scale(rollout, &set, 0).await?;
        }
        if scaled || self.old_pods_run(rollout) {
            return Ok(());
        }
        let had_new = rollout.new.is_some();
        self.number(rollout).await?;
        news.set_of_template(rollout, had_new);
        if let Some(new) = rollout.new.clone() {
            let wanted = rollout.replicas();
            self.scale(rollout, &new, wanted).await?;
        }
        if status::is_complete(rollout) {
            self.clean_up(rollout).await?;
        }
        Ok(())
    }

    fn old_pods_run(&self, rollout: &Rollout) -> bool {
        let is_new = |meta| rollout.new.as_ref().is_some_and(|new| owners::is_controlled_by(meta, &new.metadata));
        self.pods_of(rollout).iter().any(|pod| !pods::is_finished(pod) && !is_new(&pod.metadata))
    }
}

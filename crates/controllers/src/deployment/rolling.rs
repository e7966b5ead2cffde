//! RollingUpdate: the new set grows and the old ones shrink, within `maxSurge` and `maxUnavailable`.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::ApiError;

use super::{Deployments, Rollout, replicas_of, status};

/// How many pods there may be more, and fewer, than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub surge: i32,
    pub unavailable: i32,
}

/// The bounds of a deployment: percentages are of its replicas, surge rounded up, unavailability down; both zero would stand
/// still, so then one pod may be unavailable.
pub fn bounds(deployment: &Deployment) -> Bounds {
    let spec = deployment.spec.as_ref();
    let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
    let strategy = spec.and_then(|s| s.strategy.as_ref());
    if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") || replicas == 0 {
        return Bounds { surge: 0, unavailable: 0 };
    }
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let part = |value: Option<&IntOrString>, up: bool| match value {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(percent)) => share(percent, replicas, up),
        None => share("25%", replicas, up),
    };
    let surge = part(rolling.and_then(|r| r.max_surge.as_ref()), true);
    let unavailable = part(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
    if surge == 0 && unavailable == 0 {
        return Bounds { surge: 0, unavailable: 1.min(replicas) };
    }
    Bounds { surge, unavailable: unavailable.min(replicas) }
}

fn share(percent: &str, of: i32, up: bool) -> i32 {
    let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or(0);
    let product = percent * i64::from(of);
    let share = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
    i32::try_from(share).unwrap_or(i32::MAX)
}

/// How large the new set should be now.
pub fn size_of_new(rollout: &Rollout) -> i32 {
    let wanted = rollout.replicas();
    let most = wanted + bounds(&rollout.deployment).surge;
    let now: i32 = rollout.sets.iter().map(|set| replicas_of(set)).sum();
    let new = rollout.new.as_ref().map_or(0, |set| replicas_of(set));
    if now >= most { new } else { new + (most - now).min(wanted - new) }
}

impl Deployments {
    pub(super) async fn roll(&self, rollout: &mut Rollout, news: &mut status::Progress) -> Result<(), ApiError> {
        let had_new = rollout.new.is_some();
        self.number(rollout).await?;
        news.set_of_template(rollout, had_new);
        if self.grow_new(rollout).await? || self.shrink_old(rollout).await? {
            return Ok(());
        }
        if status::is_complete(rollout) {
            self.clean_up(rollout).await?;
        }
        Ok(())
    }

    async fn grow_new(&self, rollout: &mut Rollout) -> Result<bool, ApiError> {
        let Some(new) = rollout.new.clone() else { return Ok(false) };
        let (now, wanted) = (replicas_of(&new), rollout.replicas());
        let size = if now > wanted { wanted } else { size_of_new(rollout) };
        self.scale(rollout, &new, size).await
    }

    async fn shrink_old(&self, rollout: &mut Rollout) -> Result<bool, ApiError> {
        let sizes = old_sizes(rollout);
        let mut scaled = false;
        for (set, size) in sizes {
            scaled |= self.scale(rollout, &set, size).await?;
        }
        Ok(scaled)
    }
}

/// How large the old sets should be now: pods that serve nobody go first, then as many as may be unavailable.
fn old_sizes(rollout: &Rollout) -> Vec<(Arc<ReplicaSet>, i32)> {
    let available = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0);
    let mut old: Vec<(Arc<ReplicaSet>, i32)> =
        rollout.old().map(|set| (set.clone(), replicas_of(set))).filter(|(_, size)| *size > 0).collect();
    if old.is_empty() {
        return old;
    }
    let least = rollout.replicas() - bounds(&rollout.deployment).unavailable;
    let (new_size, new_available) = rollout.new.as_ref().map_or((0, 0), |set| (replicas_of(set), available(set)));
    let total: i32 = old.iter().map(|(_, size)| size).sum::<i32>() + new_size;
    let mut room = total - least - (new_size - new_available);
    if room <= 0 {
        return Vec::new();
    }
    for (set, size) in &mut old {
        let unhealthy = (*size - available(set)).clamp(0, room);
        *size -= unhealthy;
        room -= unhealthy;
    }
    let serving: i32 = rollout.sets.iter().map(|set| available(set)).sum();
    let mut room = serving - least;
    for (_, size) in &mut old {
        let fewer = (*size).min(room).max(0);
        *size -= fewer;
        room -= fewer;
    }
    old
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i32, surge: serde_json::Value, unavailable: serde_json::Value) -> Deployment {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        let spec = json!({"replicas": replicas, "selector": {}, "template": {}, "strategy": strategy});
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn set(uid: &str, replicas: i32, available: i32) -> Arc<ReplicaSet> {
        let spec = json!({"replicas": replicas, "selector": {}});
        let status = json!({"replicas": replicas, "availableReplicas": available});
        Arc::new(serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": spec, "status": status})).unwrap())
    }

    #[test]
    fn bounds_are_rounded_as_upstream_does() {
        let cases = [
            (4, json!("25%"), json!("25%"), 1, 1),
            (3, json!("25%"), json!("25%"), 1, 0),
            (10, json!("30%"), json!("33%"), 3, 3),
            (1, json!(0), json!(0), 0, 1),
            (5, json!(2), json!(9), 2, 5),
            (0, json!(1), json!(0), 0, 0),
        ];
        for (replicas, surge, unavailable, a, b) in cases {
            let got = bounds(&deployment(replicas, surge, unavailable));
            assert_eq!(got, Bounds { surge: a, unavailable: b }, "{replicas}");
        }
    }

    #[test]
    fn the_new_set_grows_and_the_old_ones_shrink() {
        // (surge, unavailable), new (size, available), old (size, available), expected sizes of new and old
        let cases = [
            ((1, 0), (0, 0), (4, 4), 1, 4),
            ((1, 0), (1, 0), (4, 4), 1, 4),
            ((1, 0), (1, 1), (4, 4), 1, 3),
            ((1, 0), (1, 1), (3, 3), 2, 3),
            ((1, 1), (1, 0), (4, 4), 1, 3),
            ((0, 1), (0, 0), (4, 4), 0, 3),
            ((1, 0), (4, 4), (1, 1), 4, 0),
            ((1, 1), (2, 0), (3, 1), 2, 3),
            ((1, 1), (1, 1), (4, 1), 1, 2),
        ];
        for ((surge, unavailable), new, old, grown, shrunk) in cases {
            let deployment = Arc::new(deployment(4, json!(surge), json!(unavailable)));
            let (new, old) = (set("new", new.0, new.1), set("old", old.0, old.1));
            let rollout = Rollout { deployment, sets: vec![old.clone(), new.clone()], new: Some(new) };
            assert_eq!(size_of_new(&rollout), grown, "{surge} {unavailable} {old:?}");
            let sizes = old_sizes(&rollout);
            let size = sizes.first().map_or(replicas_of(&old), |(_, size)| *size);
            assert_eq!(size, shrunk, "{surge} {unavailable} {old:?}");
        }
    }
}

//! Changing how large sets are, alone and all in proportion.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::events::EventType;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use machinery::ApiError;

use super::revisions::{DESIRED_REPLICAS, MAX_REPLICAS};
use super::{Deployments, Rollout, name_of, replicas_of, rolling};

/// The sizes of the deployment, as each set keeps them.
pub fn put_sizes(annotations: &mut BTreeMap<String, String>, rollout: &Rollout) {
    let wanted = rollout.replicas();
    annotations.insert(DESIRED_REPLICAS.to_owned(), wanted.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), (wanted + rolling::bounds(&rollout.deployment).surge).to_string());
}

fn annotated(set: &ReplicaSet, name: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

impl Deployments {
    /// Whether the deployment's replicas changed since its sets were last sized.
    pub(super) fn is_scaling(&self, rollout: &Rollout) -> bool {
        let active = rollout.sets.iter().filter(|set| replicas_of(set) > 0);
        active.filter_map(|set| annotated(set, DESIRED_REPLICAS)).any(|desired| desired != rollout.replicas())
    }

    /// Makes a set as large as it should be; whether its size changed.
    pub(super) async fn scale(
        &self,
        rollout: &mut Rollout,
        set: &Arc<ReplicaSet>,
        size: i32,
    ) -> Result<bool, ApiError> {
        let now = replicas_of(set);
        let mut changed = set.as_ref().clone();
        put_sizes(changed.metadata.annotations.get_or_insert_default(), rollout);
        if let Some(spec) = &mut changed.spec {
            spec.replicas = Some(size);
        }
        if changed == **set {
            return Ok(false);
        }
        let updated = self.sets_api(&rollout.deployment).replace(name_of(&set.metadata), &changed).await?;
        if now != size {
            self.say_scaled(&rollout.deployment, &updated, now, size);
        }
        rollout.put(updated);
        Ok(now != size)
    }

    pub(super) fn say_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", name_of(&set.metadata));
        self.recorder.event_on(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }

    /// Follows a change of the deployment's replicas without rolling on: one active set takes it all, several share it.
    pub(super) async fn scale_all(&self, rollout: &mut Rollout) -> Result<(), ApiError> {
        for (set, size) in sizes(rollout) {
            self.scale(rollout, &set, size).await?;
        }
        Ok(())
    }
}

fn sizes(rollout: &Rollout) -> Vec<(Arc<ReplicaSet>, i32)> {
    let active: Vec<&Arc<ReplicaSet>> = rollout.sets.iter().filter(|set| replicas_of(set) > 0).collect();
    let alone = match active.as_slice() {
        [] => rollout.new.as_ref().or(rollout.sets.last()),
        [only] => Some(*only),
        _ => None,
    };
    if let Some(set) = alone {
        return vec![(set.clone(), rollout.replicas())];
    }
    let is_saturated = rollout.new.as_ref().is_some_and(|new| {
        let available = new.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0);
        replicas_of(new) == rollout.replicas()
            && annotated(new, DESIRED_REPLICAS) == Some(rollout.replicas())
            && available == rollout.replicas()
    });
    if is_saturated {
        return rollout.old().filter(|set| replicas_of(set) > 0).map(|set| (set.clone(), 0)).collect();
    }
    if rollout.is_recreate() {
        return Vec::new();
    }
    proportional(rollout, active)
}

/// Each set gets its share of the change; what rounding leaves goes to the largest (upstream's proportional scaling).
fn proportional(rollout: &Rollout, active: Vec<&Arc<ReplicaSet>>) -> Vec<(Arc<ReplicaSet>, i32)> {
    let total: i32 = active.iter().map(|set| replicas_of(set)).sum();
    let wanted = rollout.replicas();
    let allowed = if wanted > 0 { wanted + rolling::bounds(&rollout.deployment).surge } else { 0 };
    let to_add = allowed - total;
    let mut sets: Vec<Arc<ReplicaSet>> = active.into_iter().cloned().collect();
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|t| t.0);
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    sets.sort_by(|a, b| {
        let by_age = created(a).cmp(&created(b));
        replicas_of(b).cmp(&replicas_of(a)).then(if to_add > 0 { by_age.reverse() } else { by_age })
    });
    let mut added = 0;
    let mut sizes: Vec<(Arc<ReplicaSet>, i32)> = sets
        .into_iter()
        .map(|set| {
            let share = if to_add == 0 { 0 } else { fraction(rollout, &set, allowed, to_add, added) };
            added += share;
            let size = (replicas_of(&set) + share).max(0);
            (set, size)
        })
        .collect();
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + to_add - added).max(0);
    }
    sizes
}

fn fraction(rollout: &Rollout, set: &ReplicaSet, allowed: i32, to_add: i32, added: i32) -> i32 {
    let now = replicas_of(set);
    let before = annotated(set, MAX_REPLICAS)
        .filter(|max| *max > 0)
        .unwrap_or_else(|| rollout.deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(now).max(1));
    let scaled = (f64::from(now) * f64::from(allowed) / f64::from(before)).round() as i32;
    let (share, left) = (scaled - now, to_add - added);
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(replicas: i32, surge: i32, sets: &[(i32, i32)]) -> Rollout {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": 1});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        let spec = json!({"replicas": replicas, "selector": {}, "template": {}, "strategy": strategy});
        let deployment = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
        let set = |(number, (size, max)): (usize, &(i32, i32))| {
            let meta = json!({"uid": format!("{number}"), "name": format!("{number}"),
                "annotations": {DESIRED_REPLICAS: "1", MAX_REPLICAS: max.to_string()}});
            let spec = json!({"replicas": size, "selector": {}});
            Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
        };
        let sets: Vec<Arc<ReplicaSet>> = sets.iter().enumerate().map(set).collect();
        Rollout { deployment: Arc::new(deployment), new: sets.last().cloned(), sets }
    }

    #[test]
    fn sets_share_a_change() {
        // replicas, surge, sets (size, max before), expected sizes by name
        let cases = [
            (10, 0, vec![(5, 5)], vec![10]),
            (0, 1, vec![(3, 3)], vec![0]),
            (10, 0, vec![(5, 10), (5, 10)], vec![5, 5]),
            (20, 0, vec![(5, 10), (5, 10)], vec![10, 10]),
            (15, 3, vec![(8, 13), (5, 13)], vec![11, 7]),
            (5, 0, vec![(8, 10), (2, 10)], vec![4, 1]),
        ];
        for (replicas, surge, sets, expected) in cases {
            let mut got = sizes(&rollout(replicas, surge, &sets));
            got.sort_by(|a, b| a.0.metadata.name.cmp(&b.0.metadata.name));
            assert_eq!(got.iter().map(|(_, size)| *size).collect::<Vec<_>>(), expected, "{replicas} {sets:?}");
        }
    }
}

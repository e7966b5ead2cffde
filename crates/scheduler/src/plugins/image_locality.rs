//! ImageLocality: nodes that have a pod's images are liked, the more the larger these are.

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Normalize, Plugin, SCORE_MAX, Score};

/// Below this size images count for nothing; above the other (for each container) they count in full. In bytes.
const SIZE_MIN: i64 = 23 * 1024 * 1024;
const SIZE_MAX_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

pub const PLUGIN: Plugin =
    Plugin { name: "ImageLocality", helped_by: |_| false, filter: None, score: Some(score), weight: 1 };

fn score<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Option<Score<'a>> {
    let spec = pod.pod.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let images: Vec<String> = all.filter_map(|c| c.image.as_deref()).map(with_tag).collect();
    let total = cluster.node_count() as i64;
    // An image that few nodes have does not draw all pods to them.
    let having = |image: &String| cluster.nodes().filter(|n| n.images.contains_key(image)).count() as i64;
    let spread: Vec<(String, i64)> = images.into_iter().map(|image| (image.clone(), having(&image))).collect();
    if spread.iter().all(|(_, nodes)| *nodes == 0) {
        return None;
    }
    let most = SIZE_MAX_PER_CONTAINER * spread.len() as i64;
    let of = move |node: &NodeInfo| {
        let here = spread.iter().filter_map(|(image, nodes)| Some(node.images.get(image)? * nodes / total));
        let sum = here.sum::<i64>().clamp(SIZE_MIN, most);
        SCORE_MAX * (sum - SIZE_MIN) / (most - SIZE_MIN)
    };
    Some(Score { of: Box::new(of), normalize: Normalize::As })
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

//! autoscaling: horizontal pod autoscalers in two versions. v2 is what is stored.

mod annotations;
mod behavior;
mod cells;
mod legacy;
mod metrics;
mod v1;
mod v2;

use crate::row::{Column, Resource, Subresource};

/// The rows; what is stored stands before its older form.
pub fn rows() -> Vec<Resource> {
    let row = |version: &str| {
        Resource::new(&format!("autoscaling/{version}"), "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .short_names(&["hpa"])
            .categories(&["all"])
            .subresources(&[Subresource::Status])
    };
    vec![
        row("v2").columns(columns(cells::V2)).strategy(v2::Autoscaler),
        row("v1").columns(columns(cells::V1)).strategy(v1::Autoscaler),
    ]
}

fn columns(cells: cells::Cells) -> Vec<Column> {
    vec![
        Column::text("Reference", "What it scales.", cells.reference),
        Column::text("Targets", "Metrics: what they are now, and what they should be.", cells.targets),
        Column::text("MinPods", "Fewest pods.", cells.min_pods),
        Column::text("MaxPods", "Most pods.", cells.max_pods),
        Column::text("Replicas", "Pods there are.", cells.replicas),
        Column::age(),
    ]
}

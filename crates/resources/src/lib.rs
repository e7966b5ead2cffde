//! The table of built-in resources: one file each, one line in [`table`].
//!
//! Routes, discovery, OpenAPI, printing, defaulting, validation and the generic tests all derive from these rows. A custom
//! resource is a row made at run time, so rows own their strings and travel as `Arc<Resource>`.

mod addresses;
mod admission_registration;
mod api_services;
mod apps;
mod autoscaling;
pub mod batch;
pub mod bootstrap;
mod builder;
mod cells;
pub mod certificates;
mod checks;
mod conditions;
mod core;
pub mod custom;
mod custom_resource_definitions;
mod deprecations;
mod devices;
mod difference;
mod disruption_budgets;
mod endpoint_slices;
mod flow_control;
mod lease_candidates;
mod leases;
pub mod metadata;
mod networking;
mod place;
mod pod_spec;
mod priority_classes;
mod rbac;
mod read;
mod reviews;
mod row;
mod runtime_classes;
mod storage;
mod storage_migrations;
#[cfg(test)]
mod tests;
mod versioned;

pub use admission_registration::programs;
pub use builder::NAME_COLUMN;
pub use metadata::{validate_metadata, validate_metadata_update};
pub use row::*;

use std::sync::Arc;

/// All built-in rows, in the order in which discovery lists them.
pub fn table() -> Vec<Arc<Resource>> {
    let mut rows = vec![
        core::binding::row(),
        core::component_status::row(),
        core::config_map::row(),
        core::endpoints::row(),
        core::event::row(),
        core::limit_range::row(),
        core::namespace::row(),
        core::node::row(),
        core::persistent_volume::row(),
        core::persistent_volume_claim::row(),
        core::pod::row(),
        core::pod_template::row(),
        core::replication_controller::row(),
        core::resource_quota::row(),
        core::secret::row(),
        core::service_account::row(),
        core::service::row(),
        apps::controller_revision::row(),
        apps::daemon_set::row(),
        apps::deployment::row(),
        apps::replica_set::row(),
        apps::stateful_set::row(),
        core::event::events_row(),
    ];
    rows.extend(reviews::rows());
    rows.extend(autoscaling::rows());
    rows.extend([batch::cron_job::row(), batch::job::row()]);
    rows.extend(certificates::rows());
    rows.extend(networking::rows());
    rows.push(disruption_budgets::row());
    rows.extend(rbac::rows());
    rows.extend(storage::rows());
    rows.extend(admission_registration::rows());
    rows.extend([custom_resource_definitions::row(), priority_classes::row(), leases::row()]);
    rows.extend(lease_candidates::rows());
    rows.extend([runtime_classes::row(), endpoint_slices::row()]);
    rows.extend(flow_control::rows());
    rows.extend(devices::rows());
    rows.extend([api_services::row(), storage_migrations::row()]);
    // Groups of one priority are listed by name, as upstream's aggregator does; rows of one group stay in order.
    rows.sort_by(|a, b| {
        let priority = |row: &Resource| api_services::group_priority(&row.group);
        priority(b).cmp(&priority(a)).then_with(|| a.group.cmp(&b.group))
    });
    rows.into_iter().map(Arc::new).collect()
}

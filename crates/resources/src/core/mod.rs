//! The core group.

pub mod binding;
pub(crate) mod claim_rules;
pub mod component_status;
pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
mod pod_cells;
mod pod_status;
pub mod pod_template;
pub(crate) mod quota_names;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
mod service_cells;
pub(crate) mod service_rules;
pub(crate) mod volume_rules;

//! The plugins, one file each and one line each here, in the order in which filters are asked (cheap and decisive first).

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod resource_claims;
mod taint_toleration;
mod topology_spread;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use crate::framework::Plugin;

/// All plugins.
pub const PLUGINS: &[Plugin] = &[
    node_unschedulable::PLUGIN,
    node_name::PLUGIN,
    taint_toleration::PLUGIN,
    node_affinity::PLUGIN,
    node_ports::PLUGIN,
    node_resources::FIT,
    volume_restrictions::PLUGIN,
    volume_binding::PLUGIN,
    volume_zone::PLUGIN,
    resource_claims::PLUGIN,
    topology_spread::PLUGIN,
    inter_pod_affinity::PLUGIN,
    node_resources::BALANCED,
    image_locality::PLUGIN,
];

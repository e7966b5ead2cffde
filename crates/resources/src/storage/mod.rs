//! The storage.k8s.io group.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::Resource;

const API_VERSION: &str = "storage.k8s.io/v1";
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// The rows.
pub fn rows() -> Vec<Resource> {
    vec![
        csi_driver::row(),
        csi_node::row(),
        csi_storage_capacity::row(),
        storage_class::row(),
        volume_attachment::row(),
        volume_attributes_class::row("storage.k8s.io/v1"),
        volume_attributes_class::row("storage.k8s.io/v1beta1").stored_as("v1"),
    ]
}

/// Who serves a class: a qualified name, in any case.
fn validate_provisioner(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.required(at, "");
    } else {
        let lower = name.to_lowercase();
        errors.invalid_each(at, &lower, names::qualified_name(&lower));
    }
}

/// What a class tells who serves it.
fn validate_parameters(object: &Value, errors: &mut Vec<FieldError>) {
    let (parameters, at) = (object.entries("parameters"), Place::root("parameters"));
    if parameters.len() > PARAMETERS_MAX {
        errors.too_long(&at, PARAMETERS_MAX);
        return;
    }
    for _ in parameters.keys().filter(|key| key.is_empty()) {
        errors.invalid(&at, "", "field can not be empty.");
    }
    if bytes_of(parameters) > PARAMETERS_BYTES_MAX {
        errors.too_long(&at, PARAMETERS_BYTES_MAX);
    }
}

fn bytes_of(map: &machinery::json::Map) -> usize {
    map.iter().map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len()).sum()
}

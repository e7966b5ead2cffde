//! VolumeAttachments.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{API_VERSION, bytes_of};
use crate::checks::IMMUTABLE;
use crate::core::volume_rules::{validate_driver, validate_inline};
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::pod_spec::defaults;
use crate::read::Read;
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024;
const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

/// The row.
pub fn row() -> Resource {
    let attacher = Column { format: "name".into(), ..Column::text("Attacher", "The driver that attaches.", attacher) };
    Resource::new(API_VERSION, "VolumeAttachment", "volumeattachments")
        .cluster_scoped()
        .subresources(&[Subresource::Status])
        .columns(vec![
            attacher,
            Column::text("PV", "The volume.", |object, _| {
                object.str_at(&["spec", "source", "persistentVolumeName"]).unwrap_or_default().into()
            }),
            Column::text("Node", "The node.", |object, _| {
                object.str_at(&["spec", "nodeName"]).unwrap_or_default().into()
            }),
            Column::boolean("Attached", "Whether it is attached.", |object, _| {
                object.at(&["status", "attached"]).and_then(Value::as_bool).unwrap_or(false).into()
            }),
            Column::age(),
        ])
        .strategy(VolumeAttachment)
}

fn attacher(object: &Value, _now: jiff::Timestamp) -> Value {
    object.str_at(&["spec", "attacher"]).unwrap_or_default().into()
}

struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.at_mut(&["spec", "source", "inlineVolumeSpec"]).filter(|spec| !spec.is_null()) {
            defaults::volume_source(spec);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate(object);
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_driver(spec.text("attacher"), &at.field("attacher"), &mut errors);
        let source = spec.get("source").unwrap_or(&empty);
        if source.has("persistentVolumeName") {
            let name = source.text("persistentVolumeName");
            let at = at.field("source.persistentVolumeName");
            errors.invalid_each(&at, name, names::dns1123_subdomain(name));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = validate(object);
        let (new, old) = (object.get("spec").unwrap_or(&Value::Null), old.get("spec").unwrap_or(&Value::Null));
        if normalized(new) != normalized(old) {
            errors.invalid(&Place::root("spec"), Json(new), IMMUTABLE);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

/// What has to hold of old attachments as well.
fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    if spec.text("attacher").is_empty() {
        errors.required(&at.field("attacher"), "");
    }
    validate_source(spec.get("source").unwrap_or(&empty), &at.field("source"), &mut errors);
    let node = spec.text("nodeName");
    errors.invalid_each(&at.field("nodeName"), node, names::dns1123_subdomain(node));
    validate_status(object.get("status").unwrap_or(&empty), &Place::root("status"), &mut errors);
    errors
}

fn validate_source(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match (source.present("inlineVolumeSpec"), source.present("persistentVolumeName")) {
        (None, None) => errors.required(at, ONE_SOURCE),
        (Some(_), Some(_)) => errors.forbidden(at, ONE_SOURCE),
        (None, Some(name)) => {
            if name.as_str().unwrap_or_default().is_empty() {
                errors.required(&at.field("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
        }
        (Some(spec), None) => validate_inline(spec, &at.field("inlineVolumeSpec"), errors),
    }
}

fn validate_status(status: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if bytes_of(status.entries("attachmentMetadata")) > METADATA_BYTES_MAX {
        errors.too_long(&at.field("attachmentMetadata"), METADATA_BYTES_MAX);
    }
    for field in ["attachError", "detachError"] {
        let message = status.str_at(&[field, "message"]).unwrap_or_default();
        if message.len() > MESSAGE_BYTES_MAX {
            let at = at.field(field);
            // Upstream names the other limit here.
            errors.too_long(&at.field("message"), METADATA_BYTES_MAX);
        }
    }
}

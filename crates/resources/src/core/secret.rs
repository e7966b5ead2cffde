//! Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::config_map::{DATA_BYTES_MAX, decoded_len, validate_frozen};
use crate::cells;
use crate::place::{Place, Report};
use crate::read::{Read, is_empty, selectable, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Secret", "secrets")
        .columns(vec![
            Column::text("Type", "What the secret's data means.", |object, _| object.text("type").into()),
            Column::text("Data", "Number of entries.", |object, _| cells::count(object, "data").into()),
            Column::age(),
        ])
        .selectable(vec![SelectableField::new("type", |object| selectable(object, &["type"]))])
        .strategy(Secret)
}

struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        merge_string_data(object);
        if object.text("type").is_empty() {
            object.set_at(&["type"], "Opaque");
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = Place::root("data");
        let mut bytes = 0;
        for (key, value) in object.entries("data").iter() {
            errors.invalid_each(&at.key(key), key, names::config_map_key(key));
            bytes += decoded_len(value.as_str().unwrap_or_default());
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long(&at, DATA_BYTES_MAX);
        }
        validate_type(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.text("type") != old.text("type") {
            errors.invalid(&Place::root("type"), object.text("type"), "field is immutable");
        }
        validate_frozen(object, old, &["data"], &mut errors);
        errors.extend(self.validate(object));
        errors
    }
}

/// `stringData` is write-only: its texts become data.
fn merge_string_data(object: &mut Value) {
    let Some(Value::Object(texts)) = object.remove_at(&["stringData"]) else { return };
    if texts.is_empty() {
        return;
    }
    set_default(object, "data", Value::object());
    for (key, text) in texts {
        let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
        object.set_at(&["data", &key], encoded);
    }
}

/// The keys that a type of secret has to have.
fn validate_type(object: &Value, errors: &mut Vec<FieldError>) {
    let data = object.entries("data");
    let at = Place::root("data");
    let filled = |key: &str| data.get(key).is_some_and(|value| !is_empty(value));
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if object.str_at(&["metadata", "annotations", key]).unwrap_or_default().is_empty() {
                errors.required(&Place::root("metadata").field("annotations").key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => validate_json(data.get(".dockercfg"), &at.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => {
            validate_json(data.get(".dockerconfigjson"), &at.key(".dockerconfigjson"), errors);
        }
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            errors.required(&at.key("username"), "");
            errors.required(&at.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if !filled("ssh-privatekey") => errors.required(&at.key("ssh-privatekey"), ""),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !data.contains_key(key) {
                    errors.required(&at.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn validate_json(value: Option<&Value>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(value) = value else {
        errors.required(at, "");
        return;
    };
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    if let Err(error) = Value::parse(&bytes) {
        errors.invalid(at, "<secret contents redacted>", &error.message);
    }
}

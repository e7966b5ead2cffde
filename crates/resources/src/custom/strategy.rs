//! What is particular to the objects of a definition's version.

use std::sync::Arc;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::schema::{self, Type};

use crate::read::Read;
use crate::row::{STATUS_KEEPS_ALL, Strategy, Target};

/// The strategy of one version.
pub(super) struct Custom {
    api_version: String,
    storage_api_version: String,
    has_status: bool,
    selector_path: Vec<String>,
    ty: Option<Arc<Type>>,
}

impl Custom {
    pub(super) fn new(crd: &Value, version: &Value, ty: Option<Arc<Type>>) -> Self {
        let group = crd.at(&["spec", "group"]).and_then(Value::as_str).unwrap_or_default();
        let subresources = version.get("subresources").unwrap_or(&Value::Null);
        let selector = subresources.str_at(&["scale", "labelSelectorPath"]).unwrap_or_default();
        let selector = selector.strip_prefix('.').unwrap_or(selector);
        Self {
            api_version: format!("{group}/{}", version.text("name")),
            storage_api_version: format!("{group}/{}", super::storage_version(crd)),
            has_status: subresources.has("status"),
            selector_path: selector.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect(),
            ty,
        }
    }
}

impl Strategy for Custom {
    fn prepare_for_create(&self, object: &mut Value) {
        if self.has_status {
            object.remove_at(&["status"]);
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        let (Some(new), Some(old)) = (object.as_object(), old.as_object()) else { return false };
        let rest =
            |key: &str| !matches!(key, "metadata" | "apiVersion" | "kind") && !(self.has_status && key == "status");
        new.iter().filter(|(key, _)| rest(key)).ne(old.iter().filter(|(key, _)| rest(key)))
    }

    fn validate(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_update(&self, object: &Value, _old: &Value, _target: Target) -> Vec<FieldError> {
        self.validate(object)
    }

    fn to_storage(&self, object: &mut Value) {
        object.set_at(&["apiVersion"], self.storage_api_version.as_str());
    }

    fn from_storage(&self, object: &mut Value) {
        object.set_at(&["apiVersion"], self.api_version.as_str());
        if let Some(ty) = &self.ty {
            // What another version has and this one does not is left out; metadata that was stored fits.
            _ = schema::check(object, ty);
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }

    fn scale_selector(&self, object: &Value) -> String {
        let path: Vec<&str> = self.selector_path.iter().map(String::as_str).collect();
        if path.is_empty() { String::new() } else { object.str_at(&path).unwrap_or_default().to_owned() }
    }
}

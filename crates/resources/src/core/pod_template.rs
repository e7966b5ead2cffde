//! PodTemplates.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::cells;
use crate::place::{Place, Report};
use crate::pod_spec::{defaults, validate_template, warnings};
use crate::read::{Read, present_mut};
use crate::row::{Column, Resource, Strategy};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "PodTemplate", "podtemplates")
        .columns(vec![
            Column::text("Containers", "Names of the template's containers.", |object, _| {
                cells::of_containers(object, &["template", "spec"], "name")
            }),
            Column::text("Images", "Images of the template's containers.", |object, _| {
                cells::of_containers(object, &["template", "spec"], "image")
            }),
            Column::text("Pod Labels", "Labels of its pods.", |object, _| {
                let metadata = object.at(&["template", "metadata"]).unwrap_or(&Value::Null);
                cells::labels(metadata.entries("labels")).into()
            }),
            Column::age(),
        ])
        .generation()
        .strategy(PodTemplate)
}

struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = present_mut(object, "template") {
            defaults::template(template);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = Place::root("template");
        match object.present("template") {
            Some(template) => validate_template(template, &at, &mut errors),
            None => errors.required(&at, ""),
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        object.at(&["template", "spec"]).map(|spec| warnings::of(spec, "template.spec")).unwrap_or_default()
    }
}

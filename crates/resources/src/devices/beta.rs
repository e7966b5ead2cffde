//! v1beta1, in which requests hold what v1 has below `exactly`, and devices have all below `basic`.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::read::{Read, items_mut};
use crate::row::{NameRule, Resource, Strategy, Target};

/// Fields of a request that v1 has below `exactly`.
const REQUEST_FIELDS: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

/// The row of a kind in this version, of its row as v1 has it.
pub(super) fn reshaped(mut row: Resource) -> Resource {
    let inner = std::mem::replace(&mut row.strategy, Box::new(crate::builder::Plain));
    row.strategy = Box::new(Beta { inner });
    row
}

/// Judges objects in v1's form: errors name v1's fields, as upstream's do.
struct Beta {
    inner: Box<dyn Strategy>,
}

impl Beta {
    /// Does something to an object in v1's form.
    fn in_v1(object: &mut Value, act: impl FnOnce(&mut Value)) {
        to_v1(object);
        act(object);
        from_v1(object);
    }

    fn as_v1(object: &Value) -> Value {
        let mut object = object.clone();
        to_v1(&mut object);
        object
    }
}

impl Strategy for Beta {
    fn default(&self, object: &mut Value) {
        Self::in_v1(object, |object| self.inner.default(object));
    }
    fn prepare_for_create(&self, object: &mut Value) {
        Self::in_v1(object, |object| self.inner.prepare_for_create(object));
    }
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        let old = Self::as_v1(old);
        Self::in_v1(object, |object| self.inner.prepare_for_update(object, &old, target));
    }
    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        self.inner.wants_new_generation(object, old)
    }
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.inner.validate(&Self::as_v1(object))
    }
    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        self.inner.validate_update(&Self::as_v1(object), &Self::as_v1(old), target)
    }
    fn name_rule(&self) -> NameRule {
        self.inner.name_rule()
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        self.inner.warnings(object)
    }
    fn to_storage(&self, object: &mut Value) {
        to_v1(object);
    }
    fn from_storage(&self, object: &mut Value) {
        from_v1(object);
    }
    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        self.inner.status_keeps_metadata()
    }
}

/// Requests of claims and templates, and devices of slices.
fn each(object: &mut Value, request: fn(&mut Value), device: fn(&mut Value)) {
    for path in [&["spec", "devices"][..], &["spec", "spec", "devices"]] {
        if let Some(devices) = object.at_mut(path) {
            items_mut(devices, "requests").iter_mut().for_each(request);
        }
    }
    if let Some(spec) = object.get_mut("spec") {
        items_mut(spec, "devices").iter_mut().for_each(device);
    }
}

fn to_v1(object: &mut Value) {
    each(
        object,
        |request| {
            let fields = REQUEST_FIELDS.iter().filter_map(|field| Some((*field, request.remove_at(&[field])?)));
            // The name of no class is always there.
            let fields: Vec<(&str, Value)> = fields.filter(|(_, value)| value.as_str() != Some("")).collect();
            // A request of nothing is one for a device as well, whose class is missing.
            if !fields.is_empty() || request.items("firstAvailable").is_empty() {
                request.set_at(&["exactly"], Value::Object(fields.into_iter().collect()));
            }
        },
        |device| {
            let Some(Value::Object(basic)) = device.remove_at(&["basic"]) else { return };
            for (field, value) in basic.iter() {
                device.set_at(&[field], value.clone());
            }
        },
    );
}

fn from_v1(object: &mut Value) {
    each(
        object,
        |request| {
            let Some(Value::Object(exactly)) = request.remove_at(&["exactly"]) else { return };
            for (field, value) in exactly.iter() {
                request.set_at(&[field], value.clone());
            }
        },
        |device| {
            let Some(fields) = device.as_object() else { return };
            let basic = fields.iter().filter(|(field, _)| *field != "name");
            let basic = Value::Object(basic.map(|(field, value)| (field, value.clone())).collect());
            let name = device.text("name").to_owned();
            *device = Value::object();
            device.set_at(&["name"], name);
            device.set_at(&["basic"], basic);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_converted_without_loss() {
        let texts = [
            r#"{"spec":{"devices":{"requests":[{"count":2,"deviceClassName":"c","name":"a"},{"firstAvailable":[{"deviceClassName":"c","name":"x"}],"name":"b"}]}}}"#,
            r#"{"spec":{"spec":{"devices":{"requests":[{"adminAccess":true,"deviceClassName":"c","name":"a"}]}}}}"#,
            r#"{"spec":{"devices":[{"basic":{"attributes":{"a":{"int":1}}},"name":"a"},{"basic":{},"name":"b"}]}}"#,
        ];
        for text in texts {
            let object = Value::parse(text.as_bytes()).expect("the test's own text");
            let mut other = object.clone();
            to_v1(&mut other);
            assert_ne!(other, object);
            from_v1(&mut other);
            assert_eq!(other, object, "{text}");
        }
    }
}

//! Versions of a resource that differ from the stored one in their name only.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::row::{NameRule, Strategy, Target};

/// The strategy of such a version: the stored one's, and the names of both.
pub(crate) struct Versioned {
    inner: Box<dyn Strategy>,
    own: String,
    stored: String,
}

impl Versioned {
    /// Of the strategy of the stored version and both versions, as `GROUP/VERSION`.
    pub(crate) fn new(inner: Box<dyn Strategy>, own: &str, stored: &str) -> Self {
        Self { inner, own: own.to_owned(), stored: stored.to_owned() }
    }
}

impl Strategy for Versioned {
    fn default(&self, object: &mut Value) {
        self.inner.default(object);
    }
    fn prepare_for_create(&self, object: &mut Value) {
        self.inner.prepare_for_create(object);
    }
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        self.inner.prepare_for_update(object, old, target);
    }
    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        self.inner.wants_new_generation(object, old)
    }
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.inner.validate(object)
    }
    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        self.inner.validate_update(object, old, target)
    }
    fn name_rule(&self) -> NameRule {
        self.inner.name_rule()
    }
    fn grace_period_seconds(&self, object: &Value, asked: Option<i64>) -> i64 {
        self.inner.grace_period_seconds(object, asked)
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        self.inner.warnings(object)
    }
    fn to_storage(&self, object: &mut Value) {
        self.inner.to_storage(object);
        object.set_at(&["apiVersion"], self.stored.as_str());
    }
    fn from_storage(&self, object: &mut Value) {
        self.inner.from_storage(object);
        object.set_at(&["apiVersion"], self.own.as_str());
    }
    fn allow_create_on_update(&self) -> bool {
        self.inner.allow_create_on_update()
    }
    fn orphans_dependents(&self) -> bool {
        self.inner.orphans_dependents()
    }
    fn allow_unconditional_update(&self) -> bool {
        self.inner.allow_unconditional_update()
    }
    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        self.inner.status_keeps_metadata()
    }
    fn keeps_status_at_create(&self) -> bool {
        self.inner.keeps_status_at_create()
    }
    fn initial_finalizers(&self) -> &'static [&'static str] {
        self.inner.initial_finalizers()
    }
    fn scale_selector(&self, object: &Value) -> String {
        self.inner.scale_selector(object)
    }
}

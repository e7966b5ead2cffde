//! MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::rules::{self, MATCH_POLICIES};
use super::{API_VERSION, FAILURE_POLICIES, REINVOCATION_POLICIES, client_config, expressions, programs};
use crate::cells;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, present_mut, set_default};
use crate::row::{Column, Resource, Strategy};

const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const TIMEOUT_SECONDS: i64 = 10;
const TIMEOUT_SECONDS_MAX: i64 = 30;

/// The row of those that change objects.
pub fn mutating() -> Resource {
    row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", true)
}

/// The row of those that judge them.
pub fn validating() -> Resource {
    row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false)
}

fn row(kind: &str, plural: &str, mutating: bool) -> Resource {
    Resource::new(API_VERSION, kind, plural)
        .cluster_scoped()
        .categories(&["api-extensions"])
        .generation()
        .columns(vec![
            Column::integer("Webhooks", "Webhooks that are registered.", |object, _| {
                cells::count(object, "webhooks").into()
            }),
            Column::age(),
        ])
        .strategy(Webhooks { mutating })
}

struct Webhooks {
    mutating: bool,
}

impl Strategy for Webhooks {
    fn default(&self, object: &mut Value) {
        for webhook in items_mut(object, "webhooks") {
            set_default(webhook, "failurePolicy", "Fail");
            rules::default_selection(webhook);
            set_default(webhook, "timeoutSeconds", TIMEOUT_SECONDS);
            if self.mutating {
                set_default(webhook, "reinvocationPolicy", "Never");
            }
            rules::default_rules(webhook, "rules");
            if let Some(config) = present_mut(webhook, "clientConfig") {
                client_config::default(config);
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (list, webhooks) = (Place::root("webhooks"), object.items("webhooks"));
        for (index, webhook) in webhooks.iter().enumerate() {
            let (at, name) = (list.index(index), webhook.text("name"));
            self.validate_one(webhook, &at, &mut errors);
            validate_versions(webhook, &at.field("admissionReviewVersions"), &mut errors);
            if !name.is_empty() && webhooks[..index].iter().any(|known| known.text("name") == name) {
                errors.duplicate(&at.field("name"), name);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl Webhooks {
    fn validate_one(&self, webhook: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
        validate_name(webhook.text("name"), &at.field("name"), errors);
        let list = at.field("rules");
        for (index, rule) in webhook.items("rules").iter().enumerate() {
            rules::validate_rule(rule, &list.index(index), errors);
        }
        validate_known(webhook, "failurePolicy", &FAILURE_POLICIES, at, errors);
        validate_known(webhook, "matchPolicy", &MATCH_POLICIES, at, errors);
        if !webhook.has("sideEffects") {
            errors.required(&at.field("sideEffects"), "must specify one of None, NoneOnDryRun");
        }
        validate_known(webhook, "sideEffects", &SIDE_EFFECTS, at, errors);
        let seconds = webhook.int("timeoutSeconds").unwrap_or(TIMEOUT_SECONDS);
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
            errors.invalid(&at.field("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
        }
        for field in ["namespaceSelector", "objectSelector"] {
            if let Some(selector) = webhook.present(field) {
                validate_label_selector(selector, &at.field(field), errors);
            }
        }
        if self.mutating {
            validate_known(webhook, "reinvocationPolicy", &REINVOCATION_POLICIES, at, errors);
        }
        let empty = Value::object();
        let config = webhook.get("clientConfig").unwrap_or(&empty);
        client_config::validate(config, &at.field("clientConfig"), errors);
        let list = at.field("matchConditions");
        expressions::validate_conditions(webhook, &list, errors);
        programs::check_conditions(&programs::webhook_conditions(webhook), &list, errors);
    }
}

fn validate_known(tree: &Value, field: &str, known: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if tree.has(field) && !known.contains(&tree.text(field)) {
        errors.unsupported(&at.field(field), tree.text(field), known);
    }
}

/// A domain of at least three labels.
fn validate_name(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.required(at, "");
    } else if !wrong.is_empty() {
        errors.invalid(at, name, &wrong.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(at, name, "should be a domain with at least three segments separated by dots");
    }
}

fn validate_versions(webhook: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let versions: Vec<&str> = webhook.texts("admissionReviewVersions").collect();
    if versions.is_empty() {
        errors.required(list, "must specify one of v1, v1beta1");
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.invalid(&list.index(index), *version, "duplicate version");
        } else {
            errors.invalid_each(&list.index(index), version, names::dns1035_label(version));
        }
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let value = Json(webhook.get("admissionReviewVersions").unwrap_or(&Value::Null));
        errors.invalid(list, value, "must include at least one of v1, v1beta1");
    }
}

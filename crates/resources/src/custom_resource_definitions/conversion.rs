//! How objects of one version become those of another.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::admission_registration::{validate_service, validate_url};
use crate::checks::validate_required_one_of;
use crate::place::{Json, Place, Report};
use crate::read::Read;

/// Versions of ConversionReview that the server speaks, or spoke.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// `spec.conversion`. Errors name its parts as upstream does, which knows them by older names.
pub(super) fn validate(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(conversion) = spec.present("conversion") else { return };
    let strategy = conversion.text("strategy");
    if strategy != "None" && spec.flag("preserveUnknownFields") {
        errors.invalid(&at.field("strategy"), strategy, "must be None if spec.preserveUnknownFields is true");
    }
    validate_required_one_of(strategy, &["None", "Webhook"], &at.field("strategy"), errors);
    let webhook = conversion.get("webhook").unwrap_or(&Value::Null);
    let (at_config, at_versions) = (at.field("webhookClientConfig"), at.field("conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if webhook.has("clientConfig") {
            errors.forbidden(&at_config, detail);
        }
        if !webhook.items("conversionReviewVersions").is_empty() {
            errors.forbidden(&at_versions, detail);
        }
        return;
    }
    match webhook.present("clientConfig") {
        None => errors.required(&at_config, "required when strategy is set to Webhook"),
        Some(config) => match (config.present("url"), config.present("service")) {
            (Some(url), None) => validate_url(url.as_str().unwrap_or_default(), &at_config.field("url"), errors),
            (None, Some(service)) => validate_service(service, &at_config.field("service"), errors),
            _ => errors.required(&at_config, "exactly one of url or service is required"),
        },
    }
    validate_review_versions(webhook, &at_versions, errors);
}

fn validate_review_versions(webhook: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let versions: Vec<&str> = webhook.texts("conversionReviewVersions").collect();
    if versions.is_empty() {
        errors.required(at, "");
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.invalid(&at.index(index), *version, "duplicate version");
        } else {
            errors.invalid_each(&at.index(index), version, names::dns1035_label(version));
        }
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        let list = webhook.get("conversionReviewVersions").unwrap_or(&Value::Null);
        errors.invalid(at, Json(list), &detail);
    }
}

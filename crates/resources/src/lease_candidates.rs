//! coordination.k8s.io: candidates for leases.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::checks::validate_immutable;
use crate::leases::validate_strategy_name;
use crate::place::{Place, Report};
use crate::read::{Read, selectable};
use crate::row::{Column, NameRule, Resource, Strategy, Target};

const OLDEST: &str = "OldestEmulationVersion";

/// The rows; what is stored stands before its older form.
pub fn rows() -> Vec<Resource> {
    vec![row("v1beta1"), row("v1alpha2").stored_as("v1beta1")]
}

fn row(version: &str) -> Resource {
    Resource::new(&format!("coordination.k8s.io/{version}"), "LeaseCandidate", "leasecandidates")
        .columns(vec![
            Column::text("LeaseName", "The lease that it wants.", |object, _| {
                selectable(object, &["spec", "leaseName"]).into()
            }),
            Column::text("BinaryVersion", "Version of the program.", |object, _| {
                selectable(object, &["spec", "binaryVersion"]).into()
            }),
            Column::text("EmulationVersion", "Version that the program acts as.", |object, _| {
                selectable(object, &["spec", "emulationVersion"]).into()
            }),
            Column::age(),
        ])
        .strategy(LeaseCandidate)
}

struct LeaseCandidate;

impl Strategy for LeaseCandidate {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        if spec.text("leaseName").is_empty() {
            errors.required(&at.field("leaseName"), "");
        }
        let version = |field: &str, errors: &mut Vec<FieldError>| {
            let text = spec.text(field);
            let read = semantic_version(text);
            if !text.is_empty() && read.is_none() {
                errors.invalid(&at.field(field), text, "must be a valid semantic version");
            }
            read.unwrap_or_default()
        };
        let emulation = version("emulationVersion", &mut errors);
        if spec.text("binaryVersion").is_empty() {
            errors.required(&at.field("binaryVersion"), "");
        }
        let binary = version("binaryVersion", &mut errors);
        if !spec.text("binaryVersion").is_empty() && !spec.text("emulationVersion").is_empty() && binary < emulation {
            let detail = "must be greater than or equal to `emulationVersion`";
            errors.invalid(&at.field("binaryVersion"), spec.text("binaryVersion"), detail);
        }
        let strategy = spec.text("strategy");
        if strategy == OLDEST {
            for (field, version) in [("binaryVersion", binary), ("emulationVersion", emulation)] {
                if version == <(u64, u64, u64)>::default() {
                    let detail = "must be specified when `strategy` is 'OldestEmulationVersion'";
                    errors.required(&at.field(field), detail);
                }
            }
        }
        validate_strategy_name(strategy, &at.field("strategy"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_immutable(new, old, "leaseName", &Place::root("spec"), &mut errors);
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::ConfigMapKey
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// The three numbers of a semantic version; what follows them is only looked at.
fn semantic_version(text: &str) -> Option<(u64, u64, u64)> {
    let is_tail = |tail: &str| {
        tail.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    if build.is_some_and(|build| !is_tail(build)) || before.is_some_and(|before| !is_tail(before)) {
        return None;
    }
    let number = |text: &str| {
        let plain = text == "0" || !text.starts_with('0');
        (plain && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let mut numbers = core.split('.').map(number);
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

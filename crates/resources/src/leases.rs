//! coordination.k8s.io: leases.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("coordination.k8s.io/v1", "Lease", "leases")
        .columns(vec![
            Column::text("Holder", "Who holds the lease.", |object, _| {
                object.str_at(&["spec", "holderIdentity"]).unwrap_or_default().into()
            }),
            Column::age(),
        ])
        .strategy(Lease)
}

struct Lease;

impl Strategy for Lease {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(spec) = object.present("spec") else { return errors };
        let at = Place::root("spec");
        for (field, lowest, detail) in [
            ("leaseDurationSeconds", 1, "must be greater than 0"),
            ("leaseTransitions", 0, "must be greater than or equal to 0"),
        ] {
            if let Some(number) = spec.int(field).filter(|n| *n < lowest) {
                errors.invalid(&at.field(field), number, detail);
            }
        }
        validate_strategy(spec, &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, _target: Target) -> Vec<FieldError> {
        self.validate(object)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_strategy(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(strategy) = spec.present("strategy").and_then(Value::as_str) {
        validate_strategy_name(strategy, &at.field("strategy"), errors);
    }
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        errors.forbidden(&at.field("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

/// How a holder is chosen: a way that Kubernetes knows, or somebody's own.
pub(crate) fn validate_strategy_name(strategy: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if strategy.contains('/') {
        errors.invalid_each(at, strategy, names::qualified_name(strategy));
    } else if strategy != "OldestEmulationVersion" {
        errors.unsupported(at, strategy, &["OldestEmulationVersion"]);
    }
}

//! PriorityLevelConfigurations: how many requests of a level are worked on at once, and where others wait.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{API_VERSION, objects, validate_status};
use crate::cells;
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const SHARES: i64 = 30;
const QUEUES: i64 = 64;
const HAND_SIZE: i64 = 8;
const QUEUE_LENGTH: i64 = 50;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash from which a request's hand of queues is dealt.
const HASH_BITS_MAX: i64 = 60;
const TYPES: [&str; 2] = ["Exempt", "Limited"];
const RESPONSES: [&str; 2] = ["Queue", "Reject"];
const PERCENT: &str = "must be between 0 and 100, inclusive";

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .cluster_scoped()
        .generation()
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Type", "Whether there are bounds.", |object, _| {
                object.str_at(&["spec", "type"]).unwrap_or_default().into()
            }),
            Column::text("NominalConcurrencyShares", "Its share of the places.", |object, _| {
                number_or_none(object, &["spec", "limited", "nominalConcurrencyShares"])
            }),
            Column::text("Queues", "Queues of waiting requests.", |object, _| queuing(object, "queues")),
            Column::text("HandSize", "Queues that a flow may use.", |object, _| queuing(object, "handSize")),
            Column::text("QueueLengthLimit", "Requests that a queue holds.", |object, _| {
                queuing(object, "queueLengthLimit")
            }),
            Column::age(),
        ])
        .strategy(PriorityLevel)
}

fn number_or_none(object: &Value, path: &[&str]) -> Value {
    object.i64_at(path).map_or_else(|| cells::NONE.into(), Value::from)
}

fn queuing(object: &Value, field: &str) -> Value {
    number_or_none(object, &["spec", "limited", "limitResponse", "queuing", field])
}

struct PriorityLevel;

impl Strategy for PriorityLevel {
    fn default(&self, object: &mut Value) {
        let Some(spec) = present_mut(object, "spec") else { return };
        if let Some(exempt) = present_mut(spec, "exempt") {
            set_default(exempt, "nominalConcurrencyShares", 0);
            set_default(exempt, "lendablePercent", 0);
        }
        let Some(limited) = present_mut(spec, "limited") else { return };
        set_default(limited, "nominalConcurrencyShares", SHARES);
        set_default(limited, "lendablePercent", 0);
        let Some(queuing) = limited.at_mut(&["limitResponse", "queuing"]).filter(|queuing| !queuing.is_null()) else {
            return;
        };
        for (field, value) in [("handSize", HAND_SIZE), ("queues", QUEUES), ("queueLengthLimit", QUEUE_LENGTH)] {
            if queuing.int(field).unwrap_or(0) == 0 {
                queuing.set_at(&[field], value);
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_spec(spec, name, &at, &mut errors);
        validate_fixed(spec, name, &at, &mut errors);
        validate_status(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            let mut errors = Vec::new();
            validate_status(object, &mut errors);
            return errors;
        }
        self.validate(object)
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

/// The mandatory levels stay as they are, but for the shares of the exempt one.
fn validate_fixed(spec: &Value, name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(mut fixed) = objects::mandatory_spec("PriorityLevelConfiguration", name) else { return };
    let mut have = spec.clone();
    let mut except = "";
    if name == "exempt" {
        except = " except the 'spec.exempt' field";
        have.remove_at(&["exempt"]);
        fixed.remove_at(&["exempt"]);
    }
    if normalized(&have) != normalized(&fixed) {
        errors.invalid(at, Json(spec), &format!("spec of '{name}'{except} must equal the fixed value"));
    }
}

fn validate_spec(spec: &Value, name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = spec.text("type");
    if (name == "exempt") != (kind == "Exempt") {
        errors.invalid(&at.field("type"), kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    let (exempt, limited) = (at.field("exempt"), at.field("limited"));
    match kind {
        "Exempt" => {
            if spec.has("limited") {
                errors.forbidden(&limited, "must be nil if the type is not Limited");
            }
            if let Some(level) = spec.present("exempt") {
                validate_shares(level, &exempt, errors);
                validate_lendable(level, &exempt, errors);
            }
        }
        "Limited" => {
            if spec.has("exempt") {
                errors.forbidden(&exempt, "must be nil if the type is Limited");
            }
            match spec.present("limited") {
                Some(level) => validate_limited(level, &limited, errors),
                None => errors.required(&limited, "must not be empty when type is Limited"),
            }
        }
        _ => errors.unsupported(&at.field("type"), kind, &TYPES),
    }
}

fn validate_shares(level: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(shares) = level.int("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        errors.invalid(&at.field("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
}

fn validate_lendable(level: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(percent) = level.int("lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&at.field("lendablePercent"), percent, PERCENT);
    }
}

fn validate_limited(level: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_shares(level, at, errors);
    let empty = Value::object();
    let (response, place) = (level.get("limitResponse").unwrap_or(&empty), at.field("limitResponse"));
    let (kind, queuing) = (response.text("type"), response.present("queuing"));
    let at_queuing = place.field("queuing");
    match (kind, queuing) {
        ("Reject", Some(_)) => {
            errors.forbidden(&at_queuing, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => {
            errors.required(&at_queuing, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &at_queuing, errors),
        ("Reject", None) => {}
        _ => errors.unsupported(&place.field("type"), kind, &RESPONSES),
    }
    validate_lendable(level, at, errors);
    if let Some(percent) = level.int("borrowingLimitPercent").filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&at.field("borrowingLimitPercent"), percent, detail);
    }
}

fn validate_queuing(queuing: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let number = |field: &str| queuing.int(field).unwrap_or(0);
    let (queues, hand, length) = (number("queues"), number("handSize"), number("queueLengthLimit"));
    if length <= 0 {
        errors.invalid(&at.field("queueLengthLimit"), length, "must be positive");
    }
    let place = at.field("queues");
    if queues <= 0 {
        errors.invalid(&place, queues, "must be positive");
    } else if queues > QUEUES_MAX {
        errors.invalid(&place, queues, &format!("must not be greater than {QUEUES_MAX}"));
    }
    let place = at.field("handSize");
    if hand <= 0 {
        errors.invalid(&place, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&place, hand, &format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > HASH_BITS_MAX {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        errors.invalid(&place, hand, &detail);
    }
}

/// Bits that dealing a hand out of a deck takes.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}

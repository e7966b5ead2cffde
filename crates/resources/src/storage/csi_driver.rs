//! CSIDrivers.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;

use super::API_VERSION;
use crate::cells;
use crate::checks::validate_one_of;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Target};

const FS_GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLE_MODES: [&str; 2] = ["Persistent", "Ephemeral"];
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const UPDATE_PERIOD_SECONDS_MIN: i64 = 10;
/// Fields that are taken for immutable, with the paths that upstream's errors have.
const IMMUTABLE: [(&str, &str); 2] =
    [("attachRequired", "spec.attachedRequired"), ("volumeLifecycleModes", "spec.volumeLifecycleModes")];
/// Fields whose changes make a new generation.
const COUNTED: [&str; 5] = [
    "tokenRequests",
    "requiresRepublish",
    "seLinuxMount",
    "nodeAllocatableUpdatePeriodSeconds",
    "serviceAccountTokenInSecrets",
];

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "CSIDriver", "csidrivers")
        .cluster_scoped()
        .columns(vec![
            Column::boolean("AttachRequired", "Whether its volumes have to be attached.", |object, _| {
                flag_or(object, "attachRequired", true)
            }),
            Column::boolean("PodInfoOnMount", "Whether it is told about the pod.", |object, _| {
                flag_or(object, "podInfoOnMount", false)
            }),
            Column::boolean("StorageCapacity", "Whether it publishes capacities.", |object, _| {
                flag_or(object, "storageCapacity", false)
            }),
            Column::text("TokenRequests", "Audiences of the tokens it gets.", audiences),
            Column::boolean("RequiresRepublish", "Whether volumes are published again and again.", |object, _| {
                flag_or(object, "requiresRepublish", false)
            }),
            Column::text("Modes", "Kinds of volumes it serves.", modes),
            Column::age(),
        ])
        .strategy(CsiDriver)
}

fn flag_or(object: &Value, field: &str, otherwise: bool) -> Value {
    object.at(&["spec", field]).and_then(Value::as_bool).unwrap_or(otherwise).into()
}

fn audiences(object: &Value, _now: Timestamp) -> Value {
    match object.at(&["spec", "tokenRequests"]).and_then(Value::as_array) {
        Some(requests) => requests.iter().map(|r| r.text("audience")).collect::<Vec<_>>().join(",").into(),
        None => cells::UNSET.into(),
    }
}

fn modes(object: &Value, _now: Timestamp) -> Value {
    let modes = object.get("spec").map(|spec| spec.texts("volumeLifecycleModes").collect::<Vec<_>>().join(","));
    cells::or_none(&modes.unwrap_or_default())
}

struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = object.get_mut("spec") else { return };
        set_default(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            set_default(spec, field, false);
        }
        set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.items("volumeLifecycleModes").is_empty() {
            spec.set_at(&["volumeLifecycleModes"], vec!["Persistent"]);
        }
    }

    /// The field of a feature that is off by default (VolumeLimitScaling, alpha) is dropped, as upstream drops it.
    fn prepare_for_create(&self, object: &mut Value) {
        object.remove_at(&["spec", "preventPodSchedulingIfMissing"]);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _target: Target) {
        object.remove_at(&["spec", "preventPodSchedulingIfMissing"]);
        if COUNTED.iter().any(|field| !same_at(object, old, &["spec", field])) {
            let generation = old.i64_at(&["metadata", "generation"]).unwrap_or(0);
            object.set_at(&["metadata", "generation"], generation + 1);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            if !spec.has(field) {
                errors.required(&at.field(shown), "");
            }
        }
        if spec.has("fsGroupPolicy") {
            validate_one_of(spec.text("fsGroupPolicy"), &FS_GROUP_POLICIES, &at.field("fsGroupPolicy"), &mut errors);
        }
        validate_tokens(spec, &at.field("tokenRequests"), &mut errors);
        for mode in spec.texts("volumeLifecycleModes") {
            validate_one_of(mode, &LIFECYCLE_MODES, &at.field("volumeLifecycleModes"), &mut errors);
        }
        if !spec.has("seLinuxMount") {
            errors.required(&at.field("seLinuxMount"), "");
        }
        if let Some(seconds) = spec.int("nodeAllocatableUpdatePeriodSeconds")
            && seconds < UPDATE_PERIOD_SECONDS_MIN
        {
            let detail = format!("must be greater than or equal to {UPDATE_PERIOD_SECONDS_MIN} seconds");
            errors.invalid(&at.field("nodeAllocatableUpdatePeriodSeconds"), seconds, &detail);
        }
        if spec.has("serviceAccountTokenInSecrets") && spec.items("tokenRequests").is_empty() {
            let detail = "must not be set when tokenRequests is not specified";
            let at = at.field("serviceAccountTokenInSecrets");
            errors.invalid(&at, spec.flag("serviceAccountTokenInSecrets"), detail);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        for (field, at) in IMMUTABLE {
            if !same_at(object, old, &["spec", field]) {
                let value = object.at(&["spec", field]).unwrap_or(&Value::Null);
                errors.invalid(&Place::root(at), Json(value), crate::checks::IMMUTABLE);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Audiences differ; at most one request leaves its audience out.
fn validate_tokens(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let requests = spec.items("tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let (at, audience) = (list.index(index), request.text("audience"));
        if requests[..index].iter().any(|known| known.text("audience") == audience) {
            errors.duplicate(&at.field("audience"), audience);
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        let at = at.field("expirationSeconds");
        if seconds < TOKEN_SECONDS_MIN {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > TOKEN_SECONDS_MAX {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

//! LimitRanges.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;
use machinery::quantity::{Format, Quantity};

use super::quota_names::{may_overcommit, validate_container_resource, validate_resource};
use crate::checks::repeats;
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::{Read, items_mut, present_mut, set_default};
use crate::row::{Column, Resource, Strategy};

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
/// Above this, amounts are compared whole.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "LimitRange", "limitranges")
        .short_names(&["limits"])
        .columns(vec![Column::created_at()])
        .strategy(LimitRange)
}

struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        for limit in items_mut(spec, "limits").iter_mut().filter(|limit| limit.text("type") == "Container") {
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                for (name, amount) in limit.entries(from).clone().iter() {
                    limit.default_at(&[to, name], amount.clone());
                }
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let limits = object.get("spec").unwrap_or(&empty).items("limits");
        let list = Place::root("spec.limits");
        let repeated = repeats(limits.iter().map(|limit| limit.text("type")));
        for (index, limit) in limits.iter().enumerate() {
            let at = list.index(index);
            let kind = limit.text("type");
            validate_type(kind, &at.field("type"), &mut errors);
            if repeated[index] {
                errors.duplicate(&at.field("type"), kind);
            }
            validate_lists(limit, kind, &at, &mut errors);
            let mut names: Vec<&str> = LISTS.iter().flat_map(|list| limit.entries(list).keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                Limits::of(limit, kind, name).validate(&at, &mut errors);
            }
        }
        errors
    }
}

fn validate_type(kind: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::qualified_name(kind);
    if wrong.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        errors.invalid(at, kind, "must be a standard limit type or fully qualified");
    }
    errors.invalid_each(at, kind, wrong);
}

fn validate_lists(limit: &Value, kind: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for list in LISTS {
        let field = at.field(list);
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !limit.entries(list).is_empty() {
                errors.forbidden(&field, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for name in limit.entries(list).keys() {
            match kind {
                "Pod" | "Container" => validate_container_resource(name, &field.key(name), errors),
                _ => validate_resource(name, &field.key(name), errors),
            }
        }
    }
    let bounds_storage = |list: &str| limit.entries(list).contains_key("storage");
    if kind == "PersistentVolumeClaim" && !bounds_storage("min") && !bounds_storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&at.field("limits"), detail);
    }
}

/// All that is said of one resource.
struct Limits<'a> {
    name: &'a str,
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl<'a> Limits<'a> {
    fn of(limit: &Value, kind: &str, name: &'a str) -> Self {
        let of = |list: &str| limit.entries(list).get(name).and_then(quantity);
        let of_containers = |list: &str| of(list).filter(|_| kind != "Pod");
        Self {
            name,
            min: of("min"),
            max: of("max"),
            default: of_containers("default"),
            request: of_containers("defaultRequest"),
            ratio: of("maxLimitRequestRatio"),
        }
    }

    fn validate(&self, at: &Place<'_>, errors: &mut Vec<FieldError>) {
        let mut wrong = |list: &str, shown: &Quantity, detail: String| {
            errors.invalid(&at.field(list).key(self.name), shown.to_string(), &detail);
        };
        let above = |one: &Option<Quantity>, other: &Option<Quantity>| match (one, other) {
            (Some(one), Some(other)) if one > other => Some((one.clone(), other.clone())),
            _ => None,
        };
        if let Some((min, max)) = above(&self.min, &self.max) {
            wrong("min", &min, format!("min value {min} is greater than max value {max}"));
        }
        if let Some((min, request)) = above(&self.min, &self.request) {
            let detail = format!("min value {min} is greater than default request value {request}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, max)) = above(&self.request, &self.max) {
            let detail = format!("default request value {request} is greater than max value {max}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, default)) = above(&self.request, &self.default) {
            let detail = format!("default request value {request} is greater than default limit value {default}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((min, default)) = above(&self.min, &self.default) {
            wrong("default", &min, format!("min value {min} is greater than default value {default}"));
        }
        if let Some((default, max)) = above(&self.default, &self.max) {
            wrong("default", &max, format!("default value {default} is greater than max value {max}"));
        }
        if let Some(ratio) = self.ratio.as_ref().filter(|ratio| **ratio < Quantity::new(1, Format::DecimalSi)) {
            wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(ratio), Some(bound)) = (&self.ratio, self.ratio_max()) {
            let detail = format!("ratio {ratio} is greater than max/min = {bound:.6}");
            wrong("maxLimitRequestRatio", ratio, detail);
        }
        if let (Some(default), Some(request)) = (&self.default, &self.request)
            && !may_overcommit(self.name)
            && default != request
        {
            let name = self.name;
            let detail = format!("default value {default} must equal to defaultRequest value {request} in {name}");
            wrong("defaultRequest", request, detail);
        }
    }

    /// The highest ratio that the bounds leave, when the one that is asked for is higher.
    fn ratio_max(&self) -> Option<f64> {
        let (ratio, min, max) = (self.ratio.as_ref()?, self.min.as_ref()?, self.max.as_ref()?);
        let fine = [ratio, min, max].iter().all(|amount| amount.value() < MILLI_VALUE_MAX);
        let (asked, bound) = if fine {
            (ratio.milli_value() as f64 / 1000.0, max.milli_value() as f64 / min.milli_value() as f64)
        } else {
            (ratio.value() as f64, max.value() as f64 / min.value() as f64)
        };
        (asked > bound).then_some(bound)
    }
}

//! Capacities of devices, and how requests may share one.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::quantity::Quantity;

use super::rules;
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::Read;

const VALUES_MAX: usize = 10;
const NO_VALUE: &str = "default value is not valid according to the requestPolicy";

/// `DeviceCapacity`
pub(super) fn validate(capacity: &Value, shared: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(policy) = capacity.present("requestPolicy") else { return };
    let at = at.field("requestPolicy");
    if !shared {
        errors.forbidden(&at, "allowMultipleAllocations must be true");
        return;
    }
    let whole = capacity.get("value").and_then(quantity).unwrap_or(Quantity::ZERO);
    let default = policy.get("default").and_then(quantity);
    let (values, range) = (policy.items("validValues"), policy.present("validRange"));
    match (values.is_empty(), range, default) {
        (false, Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.forbidden(&at, detail);
        }
        (false, None, None) => errors.required(&at.field("default"), "required when validValues is defined"),
        (true, Some(_), None) => errors.required(&at.field("default"), "required when validRange is defined"),
        (false, None, Some(default)) => validate_values(values, &default, &whole, &at.field("validValues"), errors),
        (true, Some(range), Some(default)) => validate_range(range, &default, &whole, &at.field("validRange"), errors),
        (true, None, _) => {}
    }
}

fn validate_values(
    values: &[Value],
    default: &Quantity,
    whole: &Quantity,
    list: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let values: Vec<Quantity> = values.iter().filter_map(quantity).collect();
    for (index, pair) in values.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let detail = "values must be sorted in ascending order";
            errors.invalid(&list.index(index + 1), pair[1].to_string(), detail);
        }
    }
    if rules::fits(values.len(), VALUES_MAX, list, errors) {
        for (index, value) in values.iter().enumerate().filter(|(_, value)| *value > whole) {
            let detail = format!("option is larger than capacity value: {whole}");
            errors.invalid(&list.index(index), value.to_string(), &detail);
        }
        let keys: Vec<i64> = values.iter().map(Quantity::value).collect();
        rules::validate_unique(&keys, list, errors);
    }
    if !values.contains(default) {
        errors.invalid(list, default.to_string(), NO_VALUE);
    }
}

fn validate_range(range: &Value, default: &Quantity, whole: &Quantity, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let amount = |field: &str| range.get(field).and_then(quantity);
    let Some(min) = amount("min") else {
        errors.required(&at.field("min"), "required when validRange is defined");
        return;
    };
    let mut check = |wrong: bool, field: &str, value: &Quantity, detail: String| {
        if wrong {
            errors.invalid(&at.field(field), value.to_string(), &detail);
        }
    };
    check(min > *whole, "min", &min, format!("min is larger than capacity value: {whole}"));
    check(*default < min, "default", default, format!("default is less than min: {min}"));
    let max = amount("max");
    if let Some(max) = &max {
        check(min > *max, "max", &min, format!("min is larger than max: {max}"));
        check(max > whole, "max", max, format!("max is larger than capacity value: {whole}"));
        check(default > max, "default", default, format!("default is more than max: {max}"));
    }
    let Some(step) = amount("step") else { return };
    if step.sign() <= 0 {
        check(true, "step", &step, "must be greater than zero".to_owned());
        return;
    }
    let mut one = min.clone();
    one.add(&step);
    check(one > *whole, "step", &step, format!("one step {one} is larger than capacity value: {whole}"));
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        let off = value.value().saturating_sub(min.value()).checked_rem(step.value()).is_some_and(|rest| rest != 0);
        check(off, "step", value, format!("value is not a multiple of a given step ({step}) from ({min})"));
    }
}

//! Sets of indexes of Indexed Jobs as text (`1,3-5,7`), and policies that name them.

use machinery::field::{FieldError, quoted};
use machinery::json::Value;

use crate::apps::template::validate_not_negative;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const RULES_MAX: usize = 20;
const INDEXES_LENGTH_MAX: usize = 64 * 1024;

/// How many indexes a text names, all below `completions`. Errors are upstream's.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None::<i64>, 0);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The lowest index that two texts have in common; parts that cannot be read are left out.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let (mut a, mut b) = (one.iter().peekable(), other.iter().peekable());
    while let (Some((a_first, a_last)), Some((b_first, b_last))) = (a.peek(), b.peek()) {
        if a_first <= b_last && b_first <= a_last {
            return Some(*a_first.max(b_first));
        }
        if a_first <= b_first {
            a.next();
        } else {
            b.next();
        }
    }
    None
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let mut limits = part.split('-');
    let (first, last) = (limits.next().unwrap_or_default(), limits.next());
    if limits.next().is_some() {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quoted(part)
        ));
    }
    let first = index(first, completions)?;
    let Some(last) = last else { return Ok((first, first)) };
    let last = index(last, completions)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

fn index(text: &str, completions: i64) -> Result<i64, String> {
    match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {}", quoted(text))),
        Ok(index) if index >= completions => Err(format!("too large index: {}", quoted(text))),
        Ok(index) => Ok(index),
    }
}

/// `spec.successPolicy`
pub(super) fn validate_success_policy(spec: &Value, policy: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if spec.text("completionMode") != "Indexed" {
        errors.invalid(at, Json(policy), "requires indexed completion mode");
        return;
    }
    let (rules, list) = (policy.items("rules"), at.field("rules"));
    if rules.is_empty() {
        errors.required(&list, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&list, rules.len(), RULES_MAX);
    }
    let completions = spec.int("completions").unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, completions, &list.index(index), errors);
    }
}

fn validate_rule(rule: &Value, completions: i64, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let named = rule.present("succeededIndexes").and_then(Value::as_str);
    if named.is_none() && !rule.has("succeededCount") {
        errors.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(text) = named {
        let at = at.field("succeededIndexes");
        if text.len() > INDEXES_LENGTH_MAX {
            errors.too_long(&at, INDEXES_LENGTH_MAX);
        }
        match count(text, completions) {
            Ok(count) => total = count,
            Err(error) => errors.invalid(&at, text, &format!("error parsing succeededIndexes: {error}")),
        }
    }
    let Some(wanted) = rule.int("succeededCount") else { return };
    validate_not_negative(rule, "succeededCount", at, errors);
    let at = at.field("succeededCount");
    if wanted > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&at, wanted, &detail);
    }
    if named.is_some() && wanted > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(&at, wanted, &detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_and_compared() {
        for (text, wanted) in [
            ("", Ok(0)),
            ("1,3-5,7", Ok(5)),
            ("1,1", Err("non-increasing order, previous: 1, current: 1")),
            ("5-3", Err("non-increasing order, previous: 5, current: 3")),
            ("10", Err("too large index: \"10\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
        ] {
            assert_eq!(count(text, 10), wanted.map_err(str::to_owned), "{text}");
        }
        assert_eq!(overlap("0-2,5", "3,5-7", 10), Some(5));
        assert_eq!(overlap("0-2", "3-4", 10), None);
        assert_eq!(overlap("", "3-4", 10), None);
    }
}

//! MutatingAdmissionPolicies.

use std::sync::Arc;

use cel::Budget;
use machinery::patch::json_patch;
use machinery::schema::{List, ListSemantics, MapSemantics, Schema};
use machinery::{ApiError, Entry, Value};
use resources::programs::Mutation;

use super::super::Review;
use super::context::{COST_MAX, Context, conditions_hold, converted, denied, evaluate};
use super::matching::Match;
use super::{Binding, Policy, params, subresource};
use crate::kind::Kind;

const ATOMIC: &str = "may not mutate atomic arrays, maps or structs";

/// Applies all policies, and those that ask for it once more when later ones changed the object.
pub(super) fn mutate(policies: &[Arc<Policy>], review: &mut Review<'_>) -> Result<(), ApiError> {
    let mut changed = vec![false; policies.len()];
    for (index, policy) in policies.iter().enumerate() {
        changed[index] = apply_policy(policy, review)?;
    }
    for (index, policy) in policies.iter().enumerate() {
        let again = policy.spec().str_at(&["reinvocationPolicy"]) == Some("IfNeeded");
        if again && changed[index + 1..].contains(&true) {
            apply_policy(policy, review)?;
        }
    }
    Ok(())
}

fn refused(review: &Review<'_>, policy: &Policy, binding: Option<&Binding>, message: &str) -> ApiError {
    let bound = binding.map(|binding| format!(" with binding '{}'", binding.name())).unwrap_or_default();
    denied(review, "Invalid", &format!("policy '{}'{bound} denied request: {message}", policy.name()))
}

/// Something about a policy or binding itself is wrong.
fn misconfigured(
    review: &Review<'_>,
    policy: &Policy,
    binding: Option<&Binding>,
    wrong: &str,
) -> Result<bool, ApiError> {
    if !policy.fails() {
        return Ok(false);
    }
    let what = if binding.is_some() { "binding" } else { "policy" };
    Err(refused(review, policy, binding, &format!("failed to configure {what}: {wrong}")))
}

/// Gives whether the object is another one now.
fn apply_policy(policy: &Policy, review: &mut Review<'_>) -> Result<bool, ApiError> {
    let matched = policy.matcher.as_ref().map_err(Clone::clone).and_then(|matcher| matcher.matches(review));
    let seen = match matched {
        Ok(Match::No) => return Ok(false),
        Ok(Match::Itself) => None,
        Ok(Match::As(kind)) => Some(kind),
        Err(wrong) => return misconfigured(review, policy, None, &wrong.to_string()),
    };
    if let Err(wrong) = params::check(policy, review) {
        return misconfigured(review, policy, None, &wrong);
    }
    let mut changed = false;
    for binding in &policy.bindings {
        let matched = match &binding.matcher {
            Ok(None) => Ok(true),
            Ok(Some(matcher)) => matcher.matches(review).map(|found| !matches!(found, Match::No)),
            Err(wrong) => Err(wrong.clone()),
        };
        match matched {
            Ok(true) => changed |= apply_binding(policy, binding, seen.as_deref(), review)?,
            Ok(false) => {}
            Err(wrong) => changed |= misconfigured(review, policy, Some(binding), &wrong.to_string())?,
        }
    }
    Ok(changed)
}

fn apply_binding(
    policy: &Policy,
    binding: &Binding,
    seen: Option<&Kind>,
    review: &mut Review<'_>,
) -> Result<bool, ApiError> {
    let found = match params::collect(policy, binding, review) {
        Ok(found) => found,
        Err(wrong) => return misconfigured(review, policy, Some(binding), &wrong),
    };
    let mut changed = false;
    for param in found {
        match made(policy, param.as_deref(), seen, review) {
            Ok(Some(object)) => {
                changed = true;
                *review.object = object;
            }
            Ok(None) => {}
            Err(message) if policy.fails() => return Err(refused(review, policy, Some(binding), &message)),
            Err(message) => tracing::debug!(%message, policy = policy.name(), "a mutation failed and is ignored"),
        }
    }
    Ok(changed)
}

/// The object that a policy's mutations make with a parameter, if it is another one.
fn made(
    policy: &Policy,
    param: Option<&Entry>,
    seen: Option<&Kind>,
    review: &Review<'_>,
) -> Result<Option<Value>, String> {
    let param: Option<&Value> = param.map(|entry| &**entry.tree());
    let mut context = Context::new(review, seen);
    if !conditions_hold(&policy.programs.conditions, &context.bindings(param, None))? {
        return Ok(None);
    }
    let kind = seen.unwrap_or(review.kind);
    let mut budget = Budget::new(COST_MAX);
    let before = context.object().clone();
    for mutation in &policy.programs.mutations {
        let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
        let bindings = context.bindings(param, Some(&policy.programs));
        let result = evaluate(expression, &bindings, &mut budget).map_err(|failure| failure.to_string())?;
        drop(bindings);
        let object = match mutation {
            Mutation::Patch(_) => patched(context.object(), &result)?,
            Mutation::Apply(_) => applied(context.object(), &result, kind, review)?,
        };
        context.set_object(object);
    }
    if *context.object() == before {
        return Ok(None);
    }
    let object = context.object();
    Ok(Some(seen.map_or_else(|| object.clone(), |seen| converted(seen, review.kind, object))))
}

fn patched(object: &Value, patch: &Value) -> Result<Value, String> {
    json_patch(object.unfolded(), patch).map_err(|wrong| format!("JSON Patch: {wrong}"))
}

fn applied(object: &Value, made: &Value, kind: &Kind, review: &Review<'_>) -> Result<Value, String> {
    let wrong = |message: &str| format!("error applying patch: invalid ApplyConfiguration: {message}");
    let fields = kind.fields(subresource(review.target));
    let fields = fields.ok_or_else(|| wrong("there is no schema to apply it by"))?;
    if let Some(at) = fields.schema().as_type().and_then(|ty| atomic_in(ty, made, "")) {
        return Err(wrong(&format!("{ATOMIC}: {at}")));
    }
    fields.merged(object, made).map_err(|error| wrong(&error.to_string()))
}

/// The first place that could only be replaced as a whole.
fn atomic_in(ty: &machinery::schema::Type, made: &Value, at: &str) -> Option<String> {
    for (name, value) in made.as_object()?.iter() {
        let place = format!("{at}.{name}");
        let Some(field) = ty.field(name) else { continue };
        if let Some(found) = atomic(&field.schema, value, &place) {
            return Some(found);
        }
    }
    None
}

fn atomic(schema: &Schema, value: &Value, at: &str) -> Option<String> {
    match schema {
        Schema::List(list) => {
            let List { element, semantics } = &**list;
            match semantics {
                ListSemantics::Atomic | ListSemantics::Unset => Some(at.to_owned()),
                _ => value
                    .as_array()?
                    .iter()
                    .enumerate()
                    .find_map(|(i, item)| atomic(element, item, &format!("{at}[{i}]"))),
            }
        }
        Schema::Map(map) if map.semantics == MapSemantics::Atomic => Some(at.to_owned()),
        Schema::Map(map) => {
            value.as_object()?.iter().find_map(|(key, item)| atomic(&map.element, item, &format!("{at}.{key}")))
        }
        Schema::Struct(ty, semantics) => {
            let ty = ty.get();
            let whole = *semantics == MapSemantics::Atomic || (*semantics == MapSemantics::Unset && ty.atomic);
            if whole { Some(at.to_owned()) } else { atomic_in(ty, value, at) }
        }
        _ => None,
    }
}

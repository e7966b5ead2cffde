//! ValidatingAdmissionPolicies.

use std::sync::Arc;

use cel::{Bindings, Budget, Failure};
use machinery::{ApiError, Entry, Value};
use resources::programs::Validation;

use super::super::Review;
use super::context::{COST_MAX, Context, conditions_hold, denied, evaluate};
use super::matching::Match;
use super::{Binding, Policy, params};

/// Longest message that an expression makes, in bytes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Longest value of an annotation, in bytes; the rest is cut off.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
const AUDIT_FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What one validation came to.
struct Refusal {
    index: usize,
    message: String,
    reason: String,
}

/// Asks all policies. The first refusal is told, when all have been asked.
pub(super) fn validate(
    policies: &[Arc<Policy>],
    review: &Review<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let mut judge = Judge { review, warnings: Vec::new(), refused: None, annotations: Vec::new() };
    for policy in policies {
        judge.policy(policy)?;
    }
    warnings.append(&mut judge.warnings);
    match judge.refused {
        Some((reason, message)) => Err(denied(review, &reason, &message)),
        None => Ok(()),
    }
}

struct Judge<'r, 'a> {
    review: &'r Review<'a>,
    warnings: Vec<String>,
    /// Reason and message.
    refused: Option<(String, String)>,
    /// Of the policy that is asked: keys, and what its bindings made of them.
    annotations: Vec<(String, Vec<String>)>,
}

impl Judge<'_, '_> {
    fn refuse(&mut self, policy: &Policy, binding: Option<&Binding>, reason: &str, message: &str) {
        let bound = binding.map(|binding| format!(" with binding '{}'", binding.name())).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{}'{bound} denied request: {message}", policy.name());
        self.refused.get_or_insert((reason.to_owned(), message));
    }

    /// Something about a policy or binding itself is wrong.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, wrong: &str) {
        if policy.fails() {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.refuse(policy, binding, "Invalid", &format!("failed to configure {what}: {wrong}"));
        }
    }

    fn policy(&mut self, policy: &Policy) -> Result<(), ApiError> {
        let matched = policy.matcher.as_ref().map_err(Clone::clone).and_then(|matcher| matcher.matches(self.review));
        let seen = match matched {
            Ok(Match::No) => return Ok(()),
            Ok(Match::Itself) => None,
            Ok(Match::As(kind)) => Some(kind),
            Err(wrong) => {
                self.misconfigured(policy, None, &wrong.to_string());
                return Ok(());
            }
        };
        if let Err(wrong) = params::check(policy, self.review) {
            self.misconfigured(policy, None, &wrong);
            return Ok(());
        }
        let context = Context::new(self.review, seen.as_deref());
        for binding in &policy.bindings {
            let matched = match &binding.matcher {
                Ok(None) => Ok(true),
                Ok(Some(matcher)) => matcher.matches(self.review).map(|found| !matches!(found, Match::No)),
                Err(wrong) => Err(wrong.clone()),
            };
            match matched {
                Ok(true) => self.binding(policy, binding, &context),
                Ok(false) => {}
                Err(wrong) => self.misconfigured(policy, Some(binding), &wrong.to_string()),
            }
        }
        for (key, values) in std::mem::take(&mut self.annotations) {
            self.review.annotate(&format!("{}/{key}", policy.name()), &values.join(", "));
        }
        Ok(())
    }

    fn binding(&mut self, policy: &Policy, binding: &Binding, context: &Context<'_>) {
        let found = match params::collect(policy, binding, self.review) {
            Ok(found) => found,
            Err(wrong) => return self.misconfigured(policy, Some(binding), &wrong),
        };
        for param in found {
            for refusal in self.evaluate(policy, binding, context, param.as_deref()) {
                self.act(policy, binding, &refusal);
            }
        }
    }

    /// Evaluates a policy with one parameter.
    fn evaluate(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        context: &Context<'_>,
        param: Option<&Entry>,
    ) -> Vec<Refusal> {
        let param: Option<&Value> = param.map(|entry| &**entry.tree());
        let conditions = context.bindings(param, None);
        let failed = |index, message: String| {
            let refusal = Refusal { index, message, reason: "Invalid".to_owned() };
            if policy.fails() { vec![refusal] } else { Vec::new() }
        };
        match conditions_hold(&policy.programs.conditions, &conditions) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(wrong) => return failed(0, wrong),
        }
        let bindings = context.bindings(param, Some(&policy.programs));
        let mut budget = Budget::new(COST_MAX);
        let mut refusals = Vec::new();
        for (index, validation) in policy.programs.validations.iter().enumerate() {
            match evaluate(&validation.expression, &bindings, &mut budget) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => {
                    let message = message(validation, &bindings, &mut budget);
                    refusals.push(Refusal { index, message, reason: validation.reason.clone() });
                }
                Err(failure @ Failure::Budget) => return failed(0, failure.to_string()),
                Err(failure) => refusals.extend(failed(index, failure.to_string())),
            }
        }
        self.annotate(policy, binding, &bindings);
        refusals
    }

    /// Does with a refusal what the binding says.
    fn act(&mut self, policy: &Policy, binding: &Binding, refusal: &Refusal) {
        let actions = binding.entry.tree().at(&["spec", "validationActions"]).and_then(Value::as_array).cloned();
        let actions = actions.unwrap_or_default();
        for action in actions.iter().filter_map(Value::as_str) {
            match action {
                "Deny" => self.refuse(policy, Some(binding), &refusal.reason, &refusal.message),
                "Warn" => self.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name(),
                    binding.name(),
                    refusal.message
                )),
                "Audit" => self.audit(policy, binding, refusal, &actions),
                _ => {}
            }
        }
    }

    fn audit(&self, policy: &Policy, binding: &Binding, refusal: &Refusal, actions: &[Value]) {
        let mut failure = Value::object();
        failure.set_at(&["message"], refusal.message.as_str());
        failure.set_at(&["policy"], policy.name());
        failure.set_at(&["binding"], binding.name());
        failure.set_at(&["expressionIndex"], refusal.index as i64);
        failure.set_at(&["validationActions"], actions.to_vec());
        self.review.annotate(AUDIT_FAILURE, &Value::Array(vec![failure]).to_string());
    }

    /// Gathers a policy's annotations. One that fails refuses the request, unless errors are to be ignored.
    fn annotate(&mut self, policy: &Policy, binding: &Binding, bindings: &Bindings<'_>) {
        let mut budget = Budget::new(COST_MAX);
        for annotation in &policy.programs.annotations {
            match evaluate(&annotation.expression, bindings, &mut budget) {
                Ok(value) => {
                    let text = value.as_str().unwrap_or_default().trim();
                    let end = (0..=text.len().min(ANNOTATION_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
                    let text = &text[..end.unwrap_or(0)];
                    if !text.is_empty() {
                        self.gather(&annotation.name, text);
                    }
                }
                Err(failure) if policy.fails() => {
                    self.refuse(policy, Some(binding), "Invalid", &failure.to_string());
                }
                Err(_) => {}
            }
        }
    }

    fn gather(&mut self, key: &str, value: &str) {
        match self.annotations.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) if values.iter().any(|known| known == value) => {}
            Some((_, values)) => values.push(value.to_owned()),
            None => self.annotations.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
}

/// Why a validation refuses: what its expression makes, what it says, or the expression itself.
fn message(validation: &Validation, bindings: &Bindings<'_>, budget: &mut Budget) -> String {
    if let Some(expression) = &validation.message_expression {
        match evaluate(expression, bindings, budget) {
            Ok(Value::String(text)) => {
                let text = text.trim();
                if !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n') {
                    return text.to_owned();
                }
            }
            Ok(_) => {}
            Err(Failure::Budget) => return format!("failed messageExpression: {}", Failure::Budget),
            Err(failure) => tracing::debug!(%failure, "a message expression failed"),
        }
    }
    if validation.message.is_empty() {
        return format!("failed expression: {}", validation.expression.text.trim());
    }
    validation.message.clone()
}

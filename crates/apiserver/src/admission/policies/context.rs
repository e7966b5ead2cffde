//! What expressions of policies see of a request.

use std::borrow::Cow;
use std::sync::Arc;

use cel::{Attributes, Authorizer, Bindings, Budget, Failure, Program, Question, Verdict};
use client::User;
use machinery::error::Denied;
use machinery::{ApiError, Entry, Value};
use resources::programs::{Expression, Named, Programs};

use super::super::{Operation, Review};
use super::subresource;
use crate::kind::Kind;
use crate::pipeline::{Attributes as Asked, Authorizer as Rules, Decision};
use crate::request::user_info;

/// What all match conditions of a policy may cost together (upstream's `RuntimeCELCostBudgetMatchConditions`).
const CONDITIONS_COST_MAX: u64 = 2_500_000;
/// What all other expressions of a policy may cost together, each time (upstream's `RuntimeCELCostBudget`).
pub(super) const COST_MAX: u64 = 10_000_000;

/// A request as one policy sees it: in the version that its rules name.
pub(super) struct Context<'r> {
    object: Cow<'r, Value>,
    old: Cow<'r, Value>,
    request: Value,
    namespace: Option<Arc<Entry>>,
    asker: Asker<'r>,
    attributes: Attributes,
}

/// Answers questions about the user of the request, and about service accounts.
struct Asker<'r> {
    rules: &'r dyn Rules,
    user: &'r User,
}

static NULL: Value = Value::Null;

impl<'r> Context<'r> {
    /// `kind`: the version in which it is seen, if that is another one than it came in.
    pub fn new(review: &'r Review<'_>, kind: Option<&Kind>) -> Self {
        let seen = |tree: &'r Value| match kind {
            Some(other) if !tree.is_null() => Cow::Owned(converted(review.kind, other, tree)),
            _ => Cow::Borrowed(tree),
        };
        let own_namespace = review.is_core("namespaces");
        let namespaces =
            review.kinds.core("namespaces").ok().filter(|_| !own_namespace && !review.namespace.is_empty());
        Self {
            object: seen(&*review.object),
            old: seen(review.old.unwrap_or(&NULL)),
            request: request(review, kind.unwrap_or(review.kind)),
            namespace: namespaces.and_then(|namespaces| namespaces.find("", review.namespace)),
            asker: Asker { rules: review.authorizer, user: review.user },
            attributes: Attributes {
                group: review.kind.row.group.clone(),
                version: review.kind.row.version.clone(),
                resource: review.kind.row.plural.clone(),
                subresource: subresource(review.target).to_owned(),
                namespace: review.namespace.to_owned(),
                name: review.object_name().to_owned(),
                ..Attributes::default()
            },
        }
    }

    /// The object as it stands.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// The object is another one from now on.
    pub fn set_object(&mut self, object: Value) {
        self.object = Cow::Owned(object);
    }

    /// Variables of all expressions. Without `programs`, of conditions, which know no `variables`.
    pub fn bindings<'a>(&'a self, params: Option<&'a Value>, programs: Option<&'a Programs>) -> Bindings<'a> {
        let namespace: &Value = self.namespace.as_ref().map_or(&NULL, |entry| entry.tree());
        let bindings = Bindings::new()
            .json("object", &self.object)
            .json("oldObject", &self.old)
            .json("request", &self.request)
            .json("namespaceObject", namespace)
            .json("params", params.unwrap_or(&NULL))
            .authorizer(&self.asker, Some(self.attributes.clone()));
        let Some(programs) = programs else { return bindings };
        let compiled = programs.variables.iter().filter_map(|variable| {
            let program: &Program = variable.expression.program.as_ref().ok()?;
            Some((variable.name.as_str(), program))
        });
        bindings.lazy("variables", compiled)
    }
}

/// Evaluates an expression. Its error is worded as upstream does.
pub(super) fn evaluate(
    expression: &Expression,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Result<Value, Failure> {
    match &expression.program {
        Err(wrong) => Err(Failure::Error(format!("compilation error: {wrong}"))),
        Ok(program) => program.evaluate(bindings, budget).map_err(|failure| match failure {
            Failure::Error(message) => {
                Failure::Error(format!("expression '{}' resulted in error: {message}", expression.text))
            }
            Failure::Budget => Failure::Budget,
        }),
    }
}

/// Whether all conditions are met. One that is not decides, whatever errors others come to.
pub(super) fn conditions_hold(conditions: &[Named], bindings: &Bindings<'_>) -> Result<bool, String> {
    let mut budget = Budget::new(CONDITIONS_COST_MAX);
    let mut wrong = Vec::new();
    for condition in conditions {
        match evaluate(&condition.expression, bindings, &mut budget) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(failure) => wrong.push(failure.to_string()),
        }
    }
    match &wrong[..] {
        [] => Ok(true),
        [one] => Err(one.clone()),
        more => Err(format!("[{}]", more.join(", "))),
    }
}

/// An object in another version's form.
pub(super) fn converted(from: &Kind, to: &Kind, tree: &Value) -> Value {
    let mut tree = tree.clone();
    from.row.strategy.to_storage(&mut tree);
    to.row.strategy.from_storage(&mut tree);
    tree
}

fn request(review: &Review<'_>, seen: &Kind) -> Value {
    let mut request = Value::object();
    let gvk = |kind: &Kind| {
        let row = &kind.row;
        Value::Object(
            [("group", row.group.as_str()), ("kind", &row.kind), ("version", &row.version)].into_iter().collect(),
        )
    };
    let gvr = |kind: &Kind| {
        let row = &kind.row;
        let fields = [("group", row.group.as_str()), ("resource", &row.plural), ("version", &row.version)];
        Value::Object(fields.into_iter().collect())
    };
    request.set_at(&["kind"], gvk(seen));
    request.set_at(&["resource"], gvr(seen));
    request.set_at(&["requestKind"], gvk(review.kind));
    request.set_at(&["requestResource"], gvr(review.kind));
    request.set_at(&["name"], review.object_name());
    request.set_at(&["operation"], review.operation.as_str());
    request.set_at(&["dryRun"], review.options.dry_run);
    for (field, text) in [
        ("namespace", review.namespace),
        ("subResource", subresource(review.target)),
        ("requestSubResource", subresource(review.target)),
    ] {
        if !text.is_empty() {
            request.set_at(&[field], text);
        }
    }
    request.set_at(&["userInfo"], user_info(review.user));
    request.set_at(&["options"], options(review));
    request
}

fn options(review: &Review<'_>) -> Value {
    let kind = match review.operation {
        Operation::Connect => return Value::Null,
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut options = Value::object();
    options.set_at(&["apiVersion"], "meta.k8s.io/v1");
    options.set_at(&["kind"], kind);
    if review.options.dry_run {
        options.set_at(&["dryRun"], vec!["All"]);
    }
    for (field, text) in
        [("fieldManager", &review.options.field_manager), ("fieldValidation", &review.options.field_validation)]
    {
        if !text.is_empty() && review.operation != Operation::Delete {
            options.set_at(&[field], text.as_str());
        }
    }
    options
}

impl Authorizer for Asker<'_> {
    fn check(&self, question: &Question) -> Verdict {
        let account = question.subject.service_account.as_ref().map(|(namespace, name)| {
            let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            User {
                name: format!("system:serviceaccount:{namespace}:{name}"),
                groups: groups.into_iter().chain(["system:authenticated".to_owned()]).collect(),
                ..User::default()
            }
        });
        let Attributes { group, version, resource, subresource, namespace, name, .. } = question.attributes.clone();
        let asked = Asked {
            verb: question.verb.clone(),
            path: question.path.clone(),
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
        };
        match self.rules.authorize(account.as_ref().unwrap_or(self.user), &asked) {
            Decision::Allow => Verdict { allowed: true, ..Verdict::default() },
            Decision::Deny(reason) => Verdict { allowed: false, reason, error: None },
        }
    }
}

/// What is refused, as upstream words it.
pub(super) fn denied(review: &Review<'_>, reason: &str, message: &str) -> ApiError {
    let code = match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    let ApiError::Forbidden { message: whole, resource, name, .. } = review.forbidden(message) else {
        return review.forbidden(message);
    };
    let (reason, cause) = (reason.to_owned(), message.to_owned());
    ApiError::Denied(Box::new(Denied { code, reason, message: whole, cause, resource, name }))
}

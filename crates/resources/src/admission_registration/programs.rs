//! Expressions of policies and webhooks, compiled: for validation, which tells what is wrong in them, and for admission, which
//! evaluates them. Both go by the same environments.

use std::sync::LazyLock;

use cel::{CompileError, Environment, Object, Program, Type, compile};
use machinery::field::FieldError;
use machinery::json::Value;

use crate::place::{Place, Report};
use crate::read::Read;

/// What an expression may name besides what all may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// `params`
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`
    pub authorizer: bool,
}

/// A compiled expression with its text, or why it is none.
#[derive(Debug)]
pub struct Expression {
    /// As it was written.
    pub text: String,
    /// What it is compiled to.
    pub program: Result<Program, CompileError>,
}

/// A named expression.
#[derive(Debug)]
pub struct Named {
    /// Its name, or the key of an annotation.
    pub name: String,
    /// What it says.
    pub expression: Expression,
}

/// One of a policy's `validations`.
#[derive(Debug)]
pub struct Validation {
    /// What must hold.
    pub expression: Expression,
    /// The message when it does not, if it is made by an expression.
    pub message_expression: Option<Expression>,
    /// The message otherwise; may be empty.
    pub message: String,
    /// The Status reason; `Invalid` when nothing is said.
    pub reason: String,
}

/// One of a policy's `mutations`.
#[derive(Debug)]
pub enum Mutation {
    /// Makes an object that is applied.
    Apply(Expression),
    /// Makes a JSON patch.
    Patch(Expression),
}

/// All expressions of a policy.
#[derive(Debug, Default)]
pub struct Programs {
    /// `matchConditions`
    pub conditions: Vec<Named>,
    /// `variables`
    pub variables: Vec<Named>,
    /// `validations`
    pub validations: Vec<Validation>,
    /// `auditAnnotations`
    pub annotations: Vec<Named>,
    /// `mutations`
    pub mutations: Vec<Mutation>,
}

impl Expression {
    fn new(text: &str, environment: &Environment, expected: &[Type]) -> Self {
        Self { text: text.to_owned(), program: compile(text, environment, expected) }
    }

    /// Reports why it is none.
    fn check(&self, at: &Place<'_>, errors: &mut Vec<FieldError>) {
        if let Err(wrong) = &self.program
            && !self.text.trim().is_empty()
        {
            errors.invalid(at, self.text.as_str(), &wrong.to_string());
        }
    }
}

impl Programs {
    /// Compiles the expressions of a policy's spec.
    pub fn new(spec: &Value) -> Self {
        Self::typed(spec, &Type::Dyn, &Type::Dyn)
    }

    /// The same with what is known of objects and parameters.
    pub fn typed(spec: &Value, object: &Type, params: &Type) -> Self {
        let has_params = spec.has("paramKind");
        let base = |authorizer| environment(Names { params: has_params, authorizer }, object, params);
        let (full, plain) = (base(true), base(false));
        let named = |list: &str, name: &str, expression: &str, expected: &[Type]| -> Vec<Named> {
            let one = |item: &Value| Named {
                name: item.text(name).to_owned(),
                expression: Expression::new(item.text(expression), &full, expected),
            };
            spec.items(list).iter().map(one).collect()
        };
        let conditions = named("matchConditions", "name", "expression", &[Type::Bool]);
        let (variables, declared) = variables(spec, &full);
        let (full, plain) = (full.variable("variables", declared.clone()), plain.variable("variables", declared));
        let validation = |item: &Value| Validation {
            expression: Expression::new(item.text("expression"), &full, &[Type::Bool]),
            message_expression: Some(item.text("messageExpression"))
                .filter(|text| !text.trim().is_empty())
                .map(|text| Expression::new(text, &plain, &[Type::String])),
            message: item.text("message").trim().to_owned(),
            reason: Some(item.text("reason")).filter(|reason| !reason.is_empty()).unwrap_or("Invalid").to_owned(),
        };
        let annotation = |item: &Value| Named {
            name: item.text("key").to_owned(),
            expression: Expression::new(item.text("valueExpression"), &full, &[Type::String, Type::Null]),
        };
        let mutating = full.clone().mutation();
        let made = |name: &str| Type::Object(Object::Mutation(name.into()));
        let mutation = |item: &Value| match item.text("patchType") {
            "JSONPatch" => {
                let text = item.get("jsonPatch").map_or("", |patch| patch.text("expression"));
                Mutation::Patch(Expression::new(text, &mutating, &[Type::list(made("JSONPatch"))]))
            }
            _ => {
                let text = item.get("applyConfiguration").map_or("", |patch| patch.text("expression"));
                Mutation::Apply(Expression::new(text, &mutating, &[made("Object")]))
            }
        };
        Self {
            conditions,
            variables,
            validations: spec.items("validations").iter().map(validation).collect(),
            annotations: spec.items("auditAnnotations").iter().map(annotation).collect(),
            mutations: spec.items("mutations").iter().map(mutation).collect(),
        }
    }

    /// Reports all that is wrong in the expressions of `spec`, of which these were made.
    pub(super) fn check(&self, spec: &Place<'_>, errors: &mut Vec<FieldError>) {
        let list = spec.field("matchConditions");
        for (index, condition) in self.conditions.iter().enumerate() {
            condition.expression.check(&list.index(index).field("expression"), errors);
        }
        let list = spec.field("variables");
        for (index, variable) in self.variables.iter().enumerate() {
            variable.expression.check(&list.index(index).field("expression"), errors);
        }
        let list = spec.field("validations");
        for (index, validation) in self.validations.iter().enumerate() {
            let at = list.index(index);
            validation.expression.check(&at.field("expression"), errors);
            if let Some(message) = &validation.message_expression {
                message.check(&at.field("messageExpression"), errors);
            }
        }
        let list = spec.field("auditAnnotations");
        for (index, annotation) in self.annotations.iter().enumerate() {
            annotation.expression.check(&list.index(index).field("valueExpression"), errors);
        }
        let list = spec.field("mutations");
        for (index, mutation) in self.mutations.iter().enumerate() {
            let at = list.index(index);
            match mutation {
                Mutation::Apply(expression) => {
                    expression.check(&at.field("applyConfiguration.expression"), errors);
                }
                Mutation::Patch(expression) => expression.check(&at.field("jsonPatch.expression"), errors),
            }
        }
    }
}

/// Variables, each with those before it; and the type of `variables`.
fn variables(spec: &Value, base: &Environment) -> (Vec<Named>, Type) {
    let mut fields: Vec<(String, Type)> = Vec::new();
    let mut list = Vec::new();
    for item in spec.items("variables") {
        let known = Type::object(VARIABLES, fields.clone());
        let environment = base.clone().variable("variables", known);
        let expression = Expression::new(item.text("expression"), &environment, &[]);
        let ty = expression.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        fields.push((item.text("name").to_owned(), ty));
        list.push(Named { name: item.text("name").to_owned(), expression });
    }
    (list, Type::object(VARIABLES, fields))
}

const VARIABLES: &str = "kubernetes.variables";

/// Match conditions of a webhook.
pub fn webhook_conditions(webhook: &Value) -> Vec<Named> {
    let environment = environment(Names { params: false, authorizer: true }, &Type::Dyn, &Type::Dyn);
    let one = |item: &Value| Named {
        name: item.text("name").to_owned(),
        expression: Expression::new(item.text("expression"), &environment, &[Type::Bool]),
    };
    webhook.items("matchConditions").iter().map(one).collect()
}

/// Reports what is wrong in conditions.
pub(super) fn check_conditions(conditions: &[Named], list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, condition) in conditions.iter().enumerate() {
        condition.expression.check(&list.index(index).field("expression"), errors);
    }
}

/// What expressions of admission may name.
pub fn environment(names: Names, object: &Type, params: &Type) -> Environment {
    let mut made = Environment::new();
    if names.params {
        made = made.variable("params", params.clone());
    }
    if names.authorizer {
        made = made.variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"));
        made = made.variable("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
    }
    let object = object.clone();
    made.variable("object", object.clone())
        .variable("oldObject", object)
        .variable("namespaceObject", NAMESPACE.clone())
        .variable("request", REQUEST.clone())
}

static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let strings = |name: &str, fields: &[&str]| {
        Type::object(name, fields.iter().map(|field| ((*field).to_owned(), Type::String)))
    };
    let kind = strings("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = strings("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let texts = || Type::list(Type::String);
    let labels = || Type::map(Type::String, Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", texts()),
        ],
    );
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let status = [("conditions", Type::list(condition)), ("phase", Type::String)];
    Type::object(
        "kubernetes.Namespace",
        [
            ("metadata", metadata),
            ("spec", Type::object("kubernetes.NamespaceSpec", [("finalizers", texts())])),
            ("status", Type::object("kubernetes.NamespaceStatus", status)),
        ],
    )
});

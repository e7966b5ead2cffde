//! `status.typeChecking` of ValidatingAdmissionPolicies: what would be wrong in their expressions if objects were of the types
//! that their rules name. It refuses nothing; expressions are evaluated without types.

use std::sync::{Arc, Weak};

use cel::{CompileError, Type};
use client::{PatchKind, User};
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::programs::{Expression, Programs};

use super::{GROUP, VALIDATING};
use crate::kind::Kind;
use crate::kinds::Kinds;
use crate::pipeline::{Attributes, Body, Incoming, Pipeline};

/// Most types that a policy is checked against.
const TYPES_MAX: usize = 10;
const NAME: &str = "validatingadmissionpolicy-status-controller";

/// Checks policies as they change, until the pipeline ends.
pub(crate) fn start(pipeline: &Arc<Pipeline>) {
    tokio::spawn(keep(Arc::downgrade(pipeline)));
}

async fn keep(pipeline: Weak<Pipeline>) {
    let Some(mut changed) = pipeline.upgrade().and_then(|pipeline| {
        let kind = pipeline.kinds.get(GROUP, "v1", VALIDATING.policies)?;
        Some(kind.cache.subscribe())
    }) else {
        return;
    };
    loop {
        let Some(current) = pipeline.upgrade() else { return };
        check_all(&current).await;
        drop(current);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

async fn check_all(pipeline: &Pipeline) {
    let Some(kind) = pipeline.kinds.get(GROUP, "v1", VALIDATING.policies) else { return };
    for (_, entry) in kind.cache.stretch(&kind.cache.prefix, None, 0).items {
        let tree: &Value = entry.tree();
        if tree.i64_at(&["status", "observedGeneration"]) == Some(tree.generation()) {
            continue;
        }
        // Somebody may have been quicker; then there is another change to look at.
        if let Err(error) = write(pipeline, tree, warnings(&pipeline.kinds, tree)).await {
            tracing::debug!(%error, policy = tree.name(), "the status of a policy could not be written");
        }
    }
}

async fn write(pipeline: &Pipeline, policy: &Value, warnings: Vec<Value>) -> Result<(), ApiError> {
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], policy.uid());
    patch.set_at(&["status", "observedGeneration"], policy.generation());
    let mut checking = Value::object();
    if !warnings.is_empty() {
        checking.set_at(&["expressionWarnings"], warnings);
    }
    // What was there before goes, also the warnings within.
    patch.set_at(&["status", "typeChecking"], checking.clone());
    if checking.get("expressionWarnings").is_none() {
        patch.set_at(&["status", "typeChecking", "expressionWarnings"], Value::Null);
    }
    let attributes = Attributes {
        verb: "patch".to_owned(),
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: VALIDATING.policies.to_owned(),
        subresource: "status".to_owned(),
        name: policy.name().to_owned(),
        ..Attributes::default()
    };
    let account = format!("system:serviceaccount:kube-system:{NAME}");
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
    let incoming = Incoming {
        user: User::component(&account, &groups),
        attributes,
        agent: NAME.to_owned(),
        patch: Some(PatchKind::Merge),
        body: Body::Tree(patch),
        ..Incoming::default()
    };
    pipeline.serve(incoming).await.map(|_| ())
}

/// `ExpressionWarning`s of a policy.
fn warnings(kinds: &Kinds, policy: &Value) -> Vec<Value> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let params = param_type(kinds, spec);
    let checked: Vec<(Arc<Kind>, Programs)> = kinds_of(kinds, spec)
        .into_iter()
        .filter_map(|kind| {
            let object = type_of(&kind)?;
            let programs = Programs::typed(spec, &object, &params);
            Some((kind, programs))
        })
        .collect();
    let count = spec.get("validations").and_then(Value::as_array).map_or(0, Vec::len);
    let mut warnings = Vec::new();
    for index in 0..count {
        for (field, message) in [("expression", false), ("messageExpression", true)] {
            let texts: Vec<String> = checked
                .iter()
                .filter_map(|(kind, programs)| {
                    let validation = programs.validations.get(index)?;
                    let expression =
                        if message { validation.message_expression.as_ref()? } else { &validation.expression };
                    Some(format!("{}, Kind={}: {}\n", shown_version(kind), kind.row.kind, issues(expression)?))
                })
                .collect();
            if !texts.is_empty() {
                let mut warning = Value::object();
                warning.set_at(&["fieldRef"], format!("spec.validations[{index}].{field}"));
                warning.set_at(&["warning"], texts.join("\n"));
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// As Go prints a group and version: the core group's is `/v1`.
fn shown_version(kind: &Kind) -> String {
    format!("{}/{}", kind.row.group, kind.row.version)
}

fn issues(expression: &Expression) -> Option<String> {
    match &expression.program {
        Err(CompileError::Issues(issues)) => Some(issues.to_string()),
        _ => None,
    }
}

fn type_of(kind: &Kind) -> Option<Type> {
    kind.fields("").map(|fields| Type::from_schema(fields.schema()))
}

fn param_type(kinds: &Kinds, spec: &Value) -> Type {
    let wanted = |field: &str| spec.str_at(&["paramKind", field]).unwrap_or_default();
    let rows = kinds.rows();
    let row =
        rows.iter().find(|row| row.kind == wanted("kind") && row.group_version().to_string() == wanted("apiVersion"));
    let kind = row.and_then(|row| kinds.find(&row.group, &row.version, &row.plural));
    kind.and_then(|kind| type_of(&kind)).unwrap_or(Type::Dyn)
}

/// The kinds that a policy's rules name, without those of rules with wildcards, in order.
fn kinds_of(kinds: &Kinds, spec: &Value) -> Vec<Arc<Kind>> {
    let mut found: Vec<Arc<Kind>> = Vec::new();
    let rules =
        spec.at(&["matchConstraints", "resourceRules"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for rule in rules {
        let texts = |field: &str| -> Vec<&str> {
            let list = rule.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        for group in &groups {
            for version in &versions {
                for plural in texts("resources").into_iter().filter(|plural| !plural.contains(['*', '/'])) {
                    let Some(kind) = kinds.find(group, version, plural) else { continue };
                    let known = found
                        .iter()
                        .any(|other| other.row.storage == kind.row.storage && other.api_version == kind.api_version);
                    if !known && found.len() < TYPES_MAX {
                        found.push(kind);
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| {
        let key = |kind: &Arc<Kind>| (kind.row.group.clone(), kind.row.version.clone(), kind.row.kind.clone());
        key(a).cmp(&key(b))
    });
    found
}

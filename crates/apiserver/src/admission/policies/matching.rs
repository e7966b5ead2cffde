//! Which requests a policy or a binding is about.

use std::sync::Arc;

use machinery::selector::LabelSelector;
use machinery::{ApiError, Value};

use super::super::{Operation, Review};
use super::subresource;
use crate::kind::Kind;

/// A `MatchResources`, read.
pub(super) struct Matcher {
    namespaces: LabelSelector,
    objects: LabelSelector,
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether other versions of a resource count as what the rules name.
    equivalent: bool,
}

struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

/// As what a request is matched: the version of its resource that the rules name.
pub(super) enum Match {
    No,
    /// In its own version.
    Itself,
    /// In another one.
    As(Arc<Kind>),
}

impl Matcher {
    pub fn new(resources: &Value) -> Result<Self, ApiError> {
        let selector = |field: &str| {
            let given = resources.get(field).filter(|selector| !selector.is_null());
            match given {
                None => Ok(LabelSelector::everything()),
                Some(given) => {
                    LabelSelector::from_object(Some(given)).map_err(|wrong| ApiError::Internal(wrong.to_string()))
                }
            }
        };
        let rules = |field: &str| {
            let list = resources.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            list.iter().map(Rule::new).collect()
        };
        Ok(Self {
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: resources.str_at(&["matchPolicy"]) != Some("Exact"),
        })
    }

    /// Whether a request is meant.
    pub fn matches(&self, review: &Review<'_>) -> Result<Match, ApiError> {
        if !self.namespace_matches(review)? || !self.object_matches(review) {
            return Ok(Match::No);
        }
        if !matches!(self.any(&self.excluded, review), Match::No) {
            return Ok(Match::No);
        }
        if self.rules.is_empty() {
            return Ok(Match::Itself);
        }
        Ok(self.any(&self.rules, review))
    }

    fn any(&self, rules: &[Rule], review: &Review<'_>) -> Match {
        if rules.iter().any(|rule| rule.matches(review, review.kind)) {
            return Match::Itself;
        }
        if !self.equivalent || rules.is_empty() {
            return Match::No;
        }
        let versions = review.kinds.versions_of(review.kind);
        let other = versions.into_iter().find(|kind| rules.iter().any(|rule| rule.matches(review, kind)));
        other.map_or(Match::No, Match::As)
    }

    /// Namespaces are matched by their own labels; what is in none is always meant.
    fn namespace_matches(&self, review: &Review<'_>) -> Result<bool, ApiError> {
        if self.namespaces.is_everything() {
            return Ok(true);
        }
        if review.is_core("namespaces") {
            let object = if review.object.is_null() { review.old } else { Some(&*review.object) };
            return Ok(object.is_none_or(|object| selects(&self.namespaces, object)));
        }
        if review.namespace.is_empty() {
            return Ok(true);
        }
        let namespaces = review.kinds.core("namespaces")?;
        match namespaces.find("", review.namespace) {
            Some(entry) => Ok(selects(&self.namespaces, entry.tree())),
            None => Err(ApiError::not_found(&namespaces.resource, review.namespace)),
        }
    }

    fn object_matches(&self, review: &Review<'_>) -> bool {
        if self.objects.is_everything() {
            return true;
        }
        let there = [Some(&*review.object).filter(|object| !object.is_null()), review.old];
        there.into_iter().flatten().any(|object| selects(&self.objects, object))
    }
}

fn selects(selector: &LabelSelector, object: &Value) -> bool {
    let labels = object.at(&["metadata", "labels"]).unwrap_or(&Value::Null);
    selector.matches(labels)
}

impl Rule {
    fn new(rule: &Value) -> Self {
        let texts = |field: &str| {
            let list = rule.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: rule.str_at(&["scope"]).unwrap_or("*").to_owned(),
        }
    }

    /// Whether a request is meant when its object is of a kind.
    fn matches(&self, review: &Review<'_>, kind: &Kind) -> bool {
        let has = |list: &[String], item: &str| list.iter().any(|known| known == "*" || known == item);
        let name = review.object_name();
        has(&self.operations, review.operation.as_str())
            && self.scope_matches(review)
            && has(&self.groups, &kind.row.group)
            && has(&self.versions, &kind.row.version)
            && self.resources.iter().any(|rule| resource_matches(rule, &kind.row.plural, subresource(review.target)))
            && (self.names.is_empty() || self.names.iter().any(|known| known == name))
    }

    fn scope_matches(&self, review: &Review<'_>) -> bool {
        let namespaced = !review.namespace.is_empty() && !review.is_core("namespaces");
        match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        }
    }
}

fn resource_matches(rule: &str, plural: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        None => (rule == "*" || rule == plural) && subresource.is_empty(),
        Some((resource, below)) => {
            (resource == "*" || resource == plural) && (below == "*" || (below == subresource && !below.is_empty()))
        }
    }
}

impl Operation {
    /// As rules name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

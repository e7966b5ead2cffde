//! Admission policies: expressions of users that judge and change what is written.
//!
//! Policies are compiled when they are first needed after a change, and kept. A request costs two atomic loads as long as there is
//! no policy.
//!
//! DIVERGES: what is written through `binding` and `scale` is seen as an update of the object itself, not as the Binding or Scale
//! that came; an eviction as the deletion that it leads to.

mod context;
mod matching;
mod mutating;
mod params;
pub(crate) mod type_check;
mod validating;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value};
use resources::Target;
use resources::programs::Programs;

use super::Review;
use crate::kind::Kind;
use crate::kinds::Kinds;
use matching::Matcher;

const GROUP: &str = "admissionregistration.k8s.io";

/// Resources which no policy is asked about: a policy could lock itself in (the first four), or judges what is not stored.
const EXEMPT: [(&str, &str); 8] = [
    (GROUP, "validatingadmissionpolicies"),
    (GROUP, "validatingadmissionpolicybindings"),
    (GROUP, "mutatingadmissionpolicies"),
    (GROUP, "mutatingadmissionpolicybindings"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
];

/// All policies, compiled.
#[derive(Default)]
pub(crate) struct Policies {
    /// Grows with each change of a policy or binding.
    changes: Arc<AtomicU64>,
    /// The changes that the snapshot has seen, plus one.
    seen: AtomicU64,
    any: AtomicBool,
    snapshot: ArcSwap<Snapshot>,
    refreshing: Mutex<()>,
}

#[derive(Default)]
struct Snapshot {
    validating: Vec<Arc<Policy>>,
    mutating: Vec<Arc<Policy>>,
}

/// A policy with its bindings.
struct Policy {
    entry: Arc<Entry>,
    programs: Arc<Programs>,
    matcher: Result<Matcher, ApiError>,
    bindings: Vec<Binding>,
}

/// A binding of a policy.
struct Binding {
    entry: Arc<Entry>,
    /// None matches all that the policy does.
    matcher: Result<Option<Matcher>, ApiError>,
}

/// What the policies of a kind are called.
#[derive(Clone, Copy)]
struct Plurals {
    policies: &'static str,
    bindings: &'static str,
}

const VALIDATING: Plurals =
    Plurals { policies: "validatingadmissionpolicies", bindings: "validatingadmissionpolicybindings" };
const MUTATING: Plurals =
    Plurals { policies: "mutatingadmissionpolicies", bindings: "mutatingadmissionpolicybindings" };

impl Policies {
    /// Follows policies and bindings.
    pub(super) fn new(kinds: &Kinds) -> Self {
        let policies = Self::default();
        for plural in [VALIDATING, MUTATING].into_iter().flat_map(|names| [names.policies, names.bindings]) {
            if let Some(kind) = kinds.get(GROUP, "v1", plural) {
                let changes = policies.changes.clone();
                kind.cache.observe(Box::new(move |_, _| {
                    changes.fetch_add(1, Ordering::Release);
                }));
            }
        }
        policies
    }

    /// Refuses what policies refuse. Adds what they warn of.
    pub(super) fn validate(&self, review: &Review<'_>, warnings: &mut Vec<String>) -> Result<(), ApiError> {
        match self.current(review) {
            Some(snapshot) if !snapshot.validating.is_empty() => {
                validating::validate(&snapshot.validating, review, warnings)
            }
            _ => Ok(()),
        }
    }

    /// Changes what policies change.
    pub(super) fn mutate(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        match self.current(review) {
            // What goes is not changed first.
            Some(snapshot) if !snapshot.mutating.is_empty() && !review.object.is_null() => {
                mutating::mutate(&snapshot.mutating, review)
            }
            _ => Ok(()),
        }
    }

    /// The policies as they stand, unless there are none or the request is none of their business.
    fn current(&self, review: &Review<'_>) -> Option<Arc<Snapshot>> {
        let changes = self.changes.load(Ordering::Acquire);
        if self.seen.load(Ordering::Acquire) != changes + 1 {
            self.refresh(review.kinds);
        }
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let row = &review.kind.row;
        let exempt = EXEMPT.contains(&(row.group.as_str(), row.plural.as_str()));
        (!exempt).then(|| self.snapshot.load_full())
    }

    fn refresh(&self, kinds: &Kinds) {
        let _turn = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        // What changes from here on is another refresh's.
        let changes = self.changes.load(Ordering::Acquire);
        if self.seen.load(Ordering::Acquire) == changes + 1 {
            return;
        }
        let before = self.snapshot.load_full();
        let snapshot = Snapshot {
            validating: read(kinds, VALIDATING, &before.validating),
            mutating: read(kinds, MUTATING, &before.mutating),
        };
        self.any.store(!(snapshot.validating.is_empty() && snapshot.mutating.is_empty()), Ordering::Release);
        self.snapshot.store(Arc::new(snapshot));
        self.seen.store(changes + 1, Ordering::Release);
    }
}

/// Policies that are bound, by name. What was compiled before is taken over.
fn read(kinds: &Kinds, plurals: Plurals, before: &[Arc<Policy>]) -> Vec<Arc<Policy>> {
    let all = |plural| {
        let kind: Option<&Arc<Kind>> = kinds.get(GROUP, "v1", plural);
        kind.map(|kind| kind.cache.stretch(&kind.cache.prefix, None, 0).items).unwrap_or_default()
    };
    let bindings: Vec<Arc<Entry>> = all(plurals.bindings).into_iter().map(|(_, entry)| entry).collect();
    let mut policies = Vec::new();
    for (_, entry) in all(plurals.policies) {
        let tree: &Value = entry.tree();
        let own = |binding: &&Arc<Entry>| binding.tree().str_at(&["spec", "policyName"]) == Some(tree.name());
        let bindings: Vec<Binding> = bindings.iter().filter(own).map(Binding::new).collect();
        if bindings.is_empty() {
            continue;
        }
        let known = before.iter().find(|known| known.entry.revision == entry.revision);
        let programs = known.map(|known| known.programs.clone());
        let spec = tree.get("spec").unwrap_or(&Value::Null);
        policies.push(Arc::new(Policy {
            programs: programs.unwrap_or_else(|| Arc::new(Programs::new(spec))),
            matcher: Matcher::new(spec.get("matchConstraints").unwrap_or(&Value::Null)),
            bindings,
            entry,
        }));
    }
    policies
}

impl Binding {
    fn new(entry: &Arc<Entry>) -> Self {
        let resources = entry.tree().at(&["spec", "matchResources"]).filter(|resources| !resources.is_null());
        Self { entry: entry.clone(), matcher: resources.map(Matcher::new).transpose() }
    }

    fn name(&self) -> &str {
        self.entry.tree().name()
    }
}

impl Policy {
    fn name(&self) -> &str {
        self.entry.tree().name()
    }

    fn spec(&self) -> &Value {
        self.entry.tree().get("spec").unwrap_or(&Value::Null)
    }

    /// Whether an error refuses the request.
    fn fails(&self) -> bool {
        self.spec().str_at(&["failurePolicy"]) != Some("Ignore")
    }
}

/// The subresource's name; empty for the object itself.
fn subresource(target: Target) -> &'static str {
    match target {
        Target::Object => "",
        Target::Subresource(name) => name,
    }
}

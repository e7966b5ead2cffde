//! ResourceQuota: what an object uses is charged to the namespace's quotas just before it is stored, and given back when it
//! could not be stored. What is deleted is given back by the controller, which counts anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use client::{Options, User};
use machinery::amounts::{self, Amounts, amounts};
use machinery::object::ObjectExt;
use machinery::quota::Counted;
use machinery::{ApiError, Entry, Value};
use resources::Target;

use crate::request::Attributes;
use crate::verbs::Call;
use crate::verbs::update::{self, Source};

const QUOTAS: &str = "resourcequotas";

/// Charges to one namespace follow each other, so that many writers do not race for its quotas.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(namespace).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(namespace.to_owned(), Arc::downgrade(&turn));
            turn
        })
    }
}

/// What was charged, by the name of the quota.
pub(crate) type Receipt = Vec<(String, Amounts)>;

/// Charges what a write would use more than before. Dry runs are only told whether it would fit.
pub(crate) async fn charge(
    call: &Call<'_>,
    target: Target,
    object: &Value,
    old: Option<&Value>,
) -> Result<Receipt, ApiError> {
    let Some((more, quotas)) = charged(call, target, object, old)? else { return Ok(Receipt::new()) };
    let turn = call.pipeline.admission.turns.of(call.namespace());
    let _turn = turn.lock().await;
    let mut receipt = Receipt::new();
    for quota in quotas {
        let name = quota.tree().name().to_owned();
        let more = masked(&more, &amounts(quota.tree().at(&["status", "hard"])));
        if more.is_empty() {
            continue;
        }
        if call.options.dry_run {
            spent(call, object, quota.tree(), &more)?;
            continue;
        }
        match write(call, &name, &|quota| spent(call, object, quota, &more)).await {
            Ok(()) => receipt.push((name, more)),
            // Quotas may go meanwhile.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                refund_in_turn(call, receipt).await;
                return Err(error);
            }
        }
    }
    Ok(receipt)
}

/// Gives back what was charged for an object that could not be stored. What cannot be given back is counted anew in time.
pub(crate) async fn refund(call: &Call<'_>, receipt: Receipt) {
    if receipt.is_empty() {
        return;
    }
    let turn = call.pipeline.admission.turns.of(call.namespace());
    let _turn = turn.lock().await;
    refund_in_turn(call, receipt).await;
}

async fn refund_in_turn(call: &Call<'_>, receipt: Receipt) {
    for (name, charged) in receipt {
        let edit = |quota: &Value| {
            let mut used = amounts(quota.at(&["status", "used"]));
            amounts::subtract(&mut used, &charged);
            Ok(with_used(quota, &used))
        };
        if let Err(error) = write(call, &name, &edit).await {
            tracing::debug!(quota = name, %error, "a charge was not given back");
        }
    }
}

/// What a write uses more than before, and the quotas that this concerns.
type Charged = (Amounts, Vec<Arc<Entry>>);

/// `None` when a write concerns no quota.
fn charged(call: &Call<'_>, target: Target, object: &Value, old: Option<&Value>) -> Result<Option<Charged>, ApiError> {
    let row = &call.kind.row;
    let counted = Counted { group: &row.group, resource: &row.plural };
    if !row.namespaced || !applies(counted, target, old.is_some()) {
        return Ok(None);
    }
    let Some(kind) = call.pipeline.kinds.get("", "v1", QUOTAS) else { return Ok(None) };
    let all = kind.cache.stretch(&kind.row.key(call.namespace(), ""), None, 0).items;
    let mut quotas = Vec::new();
    for (_, quota) in all {
        if concerns(call, counted, quota.tree(), object)? {
            quotas.push(quota);
        }
    }
    if quotas.is_empty() {
        return Ok(None);
    }
    let now = seams::clock::now();
    let mut more = counted.usage(object, now);
    if let Some((name, _)) = more.iter().find(|(_, amount)| amount.sign() < 0) {
        return Err(refused(call, object, &format!("quota usage is negative for resource(s): {name}")));
    }
    if let Some(old) = old {
        amounts::subtract(&mut more, &counted.usage(old, now));
        // Only pods give back at once; what others use less is counted by the controller.
        more.retain(|_, amount| counted.resource == "pods" || amount.sign() > 0);
    }
    more.retain(|_, amount| !amount.is_zero());
    Ok((!more.is_empty()).then_some((more, quotas)))
}

/// Which writes can use more of a quota: all that make something, and changes of what has a size. Events are not counted.
fn applies(counted: Counted<'_>, target: Target, is_update: bool) -> bool {
    let has_size = matches!(
        (counted.group, counted.resource),
        ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
    );
    match target {
        _ if counted.resource == "events" => false,
        Target::Object => !is_update || has_size,
        Target::Subresource(name) => is_update && counted.resource == "pods" && name == "resize",
    }
}

/// Whether a quota counts an object. It cannot before it was counted once, and not what does not say what it uses.
fn concerns(call: &Call<'_>, counted: Counted<'_>, quota: &Value, object: &Value) -> Result<bool, ApiError> {
    let (hard, used) = (amounts(quota.at(&["status", "hard"])), amounts(quota.at(&["status", "used"])));
    let names: Vec<&str> = hard.keys().map(String::as_str).filter(|name| counted.tracks(name)).collect();
    if names.is_empty() || !counted.fits_scopes(quota, object) {
        return Ok(false);
    }
    let name = quota.name();
    let missing = counted.missing(&names, object);
    if !missing.is_empty() {
        return Err(refused(call, object, &format!("failed quota: {name}: must specify {missing}")));
    }
    if names.iter().any(|name| !used.contains_key(*name)) {
        let detail = format!("status unknown for quota: {name}, resources: {}", names.join(","));
        return Err(refused(call, object, &detail));
    }
    Ok(true)
}

/// The quota with more used, if there is room.
fn spent(call: &Call<'_>, object: &Value, quota: &Value, more: &Amounts) -> Result<Value, ApiError> {
    let hard = amounts(quota.at(&["status", "hard"]));
    let before = amounts(quota.at(&["status", "used"]));
    let mut used = before.clone();
    amounts::add(&mut used, more);
    let exceeded = |name: &String| matches!((used.get(name), hard.get(name)), (Some(used), Some(hard)) if used > hard);
    let exceeded: Vec<&String> = more.keys().filter(|name| exceeded(name)).collect();
    if !exceeded.is_empty() {
        let only = |all: &Amounts| {
            let kept = all.iter().filter(|(name, _)| exceeded.contains(name));
            amounts::told(&kept.map(|(name, amount)| (name.clone(), amount.clone())).collect())
        };
        let detail = format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name(),
            only(more),
            only(&before),
            only(&hard)
        );
        return Err(refused(call, object, &detail));
    }
    Ok(with_used(quota, &used))
}

fn masked(all: &Amounts, names: &Amounts) -> Amounts {
    let kept = all.iter().filter(|(name, _)| names.contains_key(*name));
    kept.map(|(name, amount)| (name.clone(), amount.clone())).collect()
}

fn with_used(quota: &Value, used: &Amounts) -> Value {
    let mut quota = quota.clone();
    quota.set_at(&["status", "used"], amounts::to_value(used));
    quota
}

fn refused(call: &Call<'_>, object: &Value, detail: &str) -> ApiError {
    let name = if call.name().is_empty() { object.name() } else { call.name() };
    ApiError::forbidden(&call.kind.resource, name, detail)
}

/// Changes a quota's status as the API server itself.
async fn write(call: &Call<'_>, name: &str, edit: update::Edit<'_>) -> Result<(), ApiError> {
    let kind = call.pipeline.kinds.core(QUOTAS)?;
    let user = User::component("system:apiserver", &["system:masters"]);
    let options = Options::default();
    let attributes = Attributes {
        verb: "update".to_owned(),
        version: "v1".to_owned(),
        resource: QUOTAS.to_owned(),
        subresource: "status".to_owned(),
        namespace: call.namespace().to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let mut write = Call {
        pipeline: call.pipeline,
        kind,
        user: &user,
        attributes: &attributes,
        agent: "kube-apiserver",
        options: &options,
        validation: call.validation,
        warnings: Vec::new(),
        audit: None,
    };
    // A write within a write: of a status, which charges nothing.
    Box::pin(update::run(&mut write, Target::Subresource("status"), Source::Update(edit))).await.map(|_| ())
}

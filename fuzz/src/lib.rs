//! What fuzzers try: each decoder of bytes that come from outside, and what must hold of everything that it takes.
//!
//! `fuzz_targets` gives them to libFuzzer; the tests of `machinery` replay the corpora.

use jiff::Timestamp;
use machinery::apply::FieldManagement;
use machinery::continue_token::ContinueToken;
use machinery::json::{DEPTH_MAX, ParseOptions};
use machinery::proto::{self, Document};
use machinery::quantity::Quantity;
use machinery::schedule::Schedule;
use machinery::schema::{FieldValidation, Schema, Type, check, check_configuration, complete, decode_tree, types};
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::{Value, duration, patch, time, yaml};

/// What evaluating one input may cost: a tenth of what a request may.
const CEL_COST_MAX: u64 = 100_000;

/// Tries some bytes. Panics where something does not hold.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("yaml", yaml),
    ("objects", objects),
    ("protobuf", protobuf),
    ("json_patch", json_patch),
    ("merge_patch", merge_patch),
    ("strategic_patch", strategic_patch),
    ("apply", apply),
    ("labels", labels),
    ("fields", fields),
    ("quantity", quantity),
    ("continue_token", continue_token),
    ("times", times),
    ("cel", cel),
];

/// What reads must be written, and read again as the same.
fn json(bytes: &[u8]) {
    let Ok(parsed) = Value::parse_with(bytes, ParseOptions { duplicates: true, ..ParseOptions::default() }) else {
        return;
    };
    assert!(parsed.tree.depth() <= DEPTH_MAX);
    let written = parsed.tree.to_bytes();
    let again = Value::parse(&written).expect("what was written reads");
    assert_eq!(again.to_bytes(), written);
    assert!(std::str::from_utf8(&written).is_ok());
}

fn yaml(bytes: &[u8]) {
    let Ok(tree) = yaml::parse(bytes) else { return };
    assert!(tree.depth() <= DEPTH_MAX);
    let written = tree.to_bytes();
    assert_eq!(Value::parse(&written).expect("what was read is JSON").to_bytes(), written);
    // The writer wants less than the reader takes: no deep nesting, no long documents.
    if tree.depth() < 20 && bytes.len() < 10_000 {
        let again = yaml::parse(yaml::write(&tree).as_bytes()).expect("what was written reads");
        assert_eq!(again.to_bytes(), written);
    }
}

/// The type that the first two bytes choose, and the rest.
fn typed(bytes: &[u8]) -> Option<(&'static Type, &[u8])> {
    let (chosen, rest) = bytes.split_first_chunk::<2>()?;
    Some((&types()[usize::from(u16::from_le_bytes(*chosen)) % types().len()], rest))
}

/// JSON fitted to a type: the second time changes nothing.
fn objects(bytes: &[u8]) {
    let Some((ty, text)) = typed(bytes) else { return };
    let Ok(parsed) = Value::parse_with(text, ParseOptions { duplicates: true, ..ParseOptions::default() }) else {
        return;
    };
    let Ok(fitted) = decode_tree(parsed.tree, parsed.duplicates, ty, FieldValidation::Warn) else { return };
    fits(&fitted.tree, ty);
    in_protobuf(&fitted.tree, ty);
    is_completed(fitted.tree, ty);
}

/// What Go always writes is written out once, is read again as nothing, and has a message.
fn is_completed(mut tree: Value, ty: &Type) {
    complete(&mut tree, ty);
    let mut again = Value::parse(&tree.to_bytes()).expect("a complete tree is JSON");
    let issues = check(&mut again, ty).expect("what is complete fits");
    assert!(issues.is_empty(), "{issues:?}");
    complete(&mut again, ty);
    assert_eq!(again.to_string(), tree.to_string(), "{}", ty.name);
    in_protobuf(&tree, ty);
}

/// A fitted tree stays as it is.
fn fits(tree: &Value, ty: &Type) {
    let mut again = Value::parse(&tree.to_bytes()).expect("a fitted tree is JSON");
    let issues = check(&mut again, ty).expect("what fits, fits again");
    assert!(issues.is_empty(), "{issues:?}");
    assert_eq!(again.to_string(), tree.to_string(), "{}", ty.name);
}

/// A fitted tree comes back from protobuf; but empty lists, which Go's messages do not tell from none.
fn in_protobuf(tree: &Value, ty: &Type) {
    let bytes = proto::encode(tree, ty).expect("a fitted tree has a message");
    let mut back = Document::read(&bytes).and_then(|d| d.decode(ty)).expect("a message that was written reads");
    check(&mut back, ty).expect("what fits, fits again");
    let bytes = proto::encode(&back, ty).expect("a fitted tree has a message");
    let mut again = Document::read(&bytes).and_then(|d| d.decode(ty)).expect("a message that was written reads");
    check(&mut again, ty).expect("what fits, fits again");
    assert_eq!(again.to_string(), back.to_string(), "{}", ty.name);
}

fn protobuf(bytes: &[u8]) {
    let _ = Document::read(bytes);
    let Some((ty, message)) = typed(bytes) else { return };
    let document = Document { api_version: String::new(), kind: String::new(), message };
    let Ok(tree) = document.decode(ty) else { return };
    let Ok(mut tree) = Value::parse(&tree.to_bytes()) else { return };
    if check(&mut tree, ty).is_err() {
        return;
    }
    fits(&tree, ty);
    in_protobuf(&tree, ty);
}

/// A JSON list of the things that a target takes.
fn parts(bytes: &[u8]) -> Option<Vec<Value>> {
    match Value::parse(bytes) {
        Ok(Value::Array(list)) => Some(list),
        _ => None,
    }
}

fn sound(tree: &Value) {
    assert!(tree.depth() <= DEPTH_MAX);
    let written = tree.to_bytes();
    assert_eq!(Value::parse(&written).expect("a patched tree is JSON").to_bytes(), written);
}

/// `[object, patch]`
fn json_patch(bytes: &[u8]) {
    let Some(parts) = parts(bytes) else { return };
    let [tree, changes] = parts.as_slice() else { return };
    let _ = patch::json_patch_issues(changes);
    if let Ok(patched) = patch::json_patch(tree.clone(), changes) {
        sound(&patched);
    }
}

/// `[object, patch]`. What a merge patch makes, it makes again of its own result.
fn merge_patch(bytes: &[u8]) {
    let Some(parts) = parts(bytes) else { return };
    let [tree, changes] = parts.as_slice() else { return };
    let Ok(patched) = patch::merge_patch(tree.clone(), changes) else { return };
    sound(&patched);
    assert_eq!(patch::merge_patch(patched.clone(), changes).expect("it applied before"), patched);
}

/// The type of a number: of the few with merge keys of every sort.
fn patched_type(chosen: &Value) -> &'static Type {
    const NAMES: [&str; 4] = [
        "io.k8s.api.core.v1.Pod",
        "io.k8s.api.core.v1.Service",
        "io.k8s.api.apps.v1.Deployment",
        "io.k8s.api.core.v1.Node",
    ];
    let chosen = usize::try_from(chosen.as_i64().unwrap_or_default()).unwrap_or_default();
    machinery::schema::lookup(NAMES[chosen % NAMES.len()]).expect("the table has the type")
}

/// `[type, object, patch]`
fn strategic_patch(bytes: &[u8]) {
    let Some(parts) = parts(bytes) else { return };
    let [chosen, tree, changes] = parts.as_slice() else { return };
    let ty = patched_type(chosen);
    let mut tree = tree.clone();
    if check(&mut tree, ty).is_err() {
        return;
    }
    if let Ok(patched) = patch::strategic_merge_patch(tree, changes.clone(), ty) {
        sound(&patched);
        let _ = patch::decode_patched(patched, changes, Vec::new(), ty, FieldValidation::Strict);
    }
}

/// `[type, object, configuration, force]`: a configuration that was applied changes nothing when it is applied again. It is made
/// canonical as requests are.
fn apply(bytes: &[u8]) {
    let Some(parts) = parts(bytes) else { return };
    let [chosen, live, config, force] = parts.as_slice() else { return };
    let ty = patched_type(chosen);
    let Some(Schema::Struct(reference, _)) = Schema::builtin(&ty.name) else { return };
    let (mut live, mut config) = (live.clone(), config.clone());
    if check(&mut live, ty).is_err() || !matches!(config, Value::Object(_)) {
        return;
    }
    let version = ty.kinds.first().map(machinery::GroupVersionKind::api_version).unwrap_or_default();
    config.set_at(&["apiVersion"], version.as_str());
    let fields = FieldManagement::new(reference, &version, "").resetting(&[&["status"]]);
    if fields.check_config(&config).is_err() || check_configuration(&mut config, ty).is_err() {
        return;
    }
    let now = Timestamp::UNIX_EPOCH;
    let force = force.as_bool().unwrap_or_default();
    let before = Some(&live).filter(|live| live.as_object().is_some_and(|o| !o.is_empty()));
    let mut updated = live.clone();
    fields.update(None, &mut updated, "updater", now, None);
    sound(&updated);
    let Ok(applied) = fields.apply(before, &config, "applier", force, now, None) else { return };
    sound(&applied);
    if applied.at(&["metadata", "managedFields"]).is_none() {
        // Of an object without managers the next apply finds some: those before the first one.
        return;
    }
    let again = fields.apply(Some(&applied), &config, "applier", force, now, None);
    let again = again.expect("it is this manager's already");
    assert_eq!(again.to_string(), applied.to_string());
}

fn labels(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = LabelSelector::parse(text) else { return };
    let written = selector.to_string();
    let again = LabelSelector::parse(&written).expect("what was written reads");
    assert_eq!(again.to_string(), written);
    for requirement in selector.requirements() {
        let labels: Value = [(requirement.key.as_str(), "x")].into_iter().collect::<machinery::Map>().into();
        assert_eq!(selector.matches(&labels), again.matches(&labels));
    }
}

fn fields(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let again = FieldSelector::parse(&selector.to_string()).expect("what was written reads");
    // Terms stand in the order of their texts, in which a character may or may not be escaped.
    let sorted = |selector: &FieldSelector| {
        let mut terms: Vec<String> = selector.terms().iter().map(|term| format!("{term:?}")).collect();
        terms.sort();
        terms
    };
    assert_eq!(sorted(&again), sorted(&selector));
}

fn quantity(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let written = quantity.to_string();
    let again = written.parse::<Quantity>().expect("what was written reads");
    assert_eq!(again, quantity, "{text} {written}");
    assert_eq!(again.to_string(), written);
    let _ = (quantity.value(), quantity.milli_value(), quantity.as_i64(), quantity.as_f64(), quantity.sign());
    let mut sum = quantity.clone();
    sum.add(&quantity);
    sum.sub(&again);
    let _ = sum.to_string();
}

fn continue_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(token) = ContinueToken::decode(text) else { return };
    assert_eq!(ContinueToken::decode(&token.encode()).expect("what was written reads"), token);
}

fn times(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = time::parse(text) {
        let written = time::format(read);
        assert_eq!(time::format(time::parse(&written).expect("what was written reads")), written);
    }
    if let Ok(read) = time::parse_micro(text) {
        let written = time::format_micro(read);
        assert_eq!(time::format_micro(time::parse_micro(&written).expect("what was written reads")), written);
    }
    if let Ok(nanos) = duration::parse_go(text) {
        assert_eq!(duration::parse_go(&duration::format_go(nanos)), Ok(nanos));
    }
    if let Ok(schedule) = Schedule::parse(text) {
        let _ = schedule.next(Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC);
    }
}

/// An expression, compiled against an object without and with a type, and evaluated on a small object. What is of a type when it is
/// compiled is of no other when it is evaluated.
fn cel(bytes: &[u8]) {
    use cel::{Bindings, Budget, Environment, Type, compile};
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pod = Schema::builtin("io.k8s.api.core.v1.Pod").expect("pods are in the table");
    let tree = Value::parse(br#"{"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}"#);
    let tree = tree.expect("it is JSON");
    let number = Value::from(7);
    for object in [Type::Dyn, Type::from_schema(&pod)] {
        let environment = Environment::new().variable("object", object).variable("n", Type::Int).mutation();
        match compile(text, &environment, &[]) {
            Err(wrong) => assert!(!wrong.to_string().is_empty()),
            Ok(program) => {
                let bindings = Bindings::new().json("object", &tree).json("n", &number);
                let result = program.evaluate(&bindings, &mut Budget::new(CEL_COST_MAX));
                if let Ok(value) = &result {
                    let fits = match program.result_type() {
                        Type::Bool => value.as_bool().is_some(),
                        Type::Int => value.as_i64().is_some(),
                        Type::String => value.as_str().is_some(),
                        Type::List(_) => value.as_array().is_some(),
                        _ => true,
                    };
                    assert!(fits, "{text} is {value}, and no {}", program.result_type());
                }
            }
        }
    }
}

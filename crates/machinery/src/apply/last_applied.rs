//! Objects that `kubectl apply` made at the client, and that it now applies at the server: its own annotation says what it
//! applied before, which counts for it as long as the object still has it.

use super::before::Reset;
use super::compare::compare;
use super::set::FieldSet;
use super::to_set;
use super::{FieldManagement, Manager};
use crate::json::Value;
use crate::object::ObjectExt;
use crate::schema::check;

/// What kubectl applied last, as JSON.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The one manager to whom this applies.
const KUBECTL: &str = "kubectl";
/// Most that all annotations of an object may hold, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

impl FieldManagement {
    /// What a manager may take from others, since it applied that itself before, from the client: fields that are as its
    /// annotation says.
    pub(super) fn applied_by_client(&self, live: &Value, me: &Manager) -> FieldSet {
        let last = live.annotation(ANNOTATION).filter(|_| me.name == KUBECTL);
        last.and_then(|text| self.unchanged_since(live, text)).unwrap_or_default()
    }

    fn unchanged_since(&self, live: &Value, text: &str) -> Option<FieldSet> {
        let mut last = Value::parse(text.as_bytes()).ok().filter(|last| last.api_version() == self.api_version)?;
        // What the schema does not know makes the whole of it worthless, as upstream has it.
        if !check(&mut last, self.schema.as_type()?).ok()?.is_empty() {
            return None;
        }
        let changes = compare(&self.schema, &last, live, Reset::NONE);
        let set = to_set::to_set(&self.schema, &last);
        Some(set.difference(&changes.changed).difference(&changes.removed))
    }
}

/// Keeps the annotation of an object that has one up to date with what kubectl applied, so that it may go back to applying
/// from the client. `sent` is the configuration as it came.
pub fn note_last_applied(object: &mut Value, sent: &Value, manager: &str) {
    if manager != KUBECTL || object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut sent = sent.clone();
    sent.remove_at(&["metadata", "annotations", ANNOTATION]);
    object.set_at(&["metadata", "annotations", ANNOTATION], as_go_writes(&sent));
    let annotations = object.at(&["metadata", "annotations"]).and_then(Value::as_object);
    if annotations.is_some_and(|all| {
        all.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum::<usize>()
            > ANNOTATIONS_BYTES_MAX
    }) {
        object.remove_at(&["metadata", "annotations", ANNOTATION]);
    }
}

/// JSON in a line of its own, in which no character means anything to HTML.
fn as_go_writes(tree: &Value) -> String {
    let mut text = tree.to_string();
    let escapes =
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    for (character, escape) in escapes {
        if text.contains(character) {
            text = text.replace(character, escape);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::error::ApiError;
    use crate::schema::Schema;

    fn deployments() -> FieldManagement {
        let Some(Schema::Struct(ty, _)) = Schema::builtin("io.k8s.api.apps.v1.Deployment") else { panic!("built in") };
        FieldManagement::new(ty, "apps/v1", "").resetting(&[&["status"]])
    }

    fn deployment(metadata: &str, spec: &str) -> Value {
        let text = format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"{metadata}}},"spec":{spec}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    fn spec(replicas: u32, app: &str, containers: &[(&str, &str)]) -> String {
        let each: Vec<String> =
            containers.iter().map(|(name, image)| format!(r#"{{"name":"{name}","image":"{image}"}}"#)).collect();
        format!(
            r#"{{"replicas":{replicas},"selector":{{"matchLabels":{{"app":"{app}"}}}},"template":
            {{"metadata":{{"labels":{{"app":"{app}"}}}},"spec":{{"containers":[{}]}}}}}}"#,
            each.join(",")
        )
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    /// An object that a client applied, with what it says that it applied.
    fn applied_by_client(mut object: Value, last: &Value) -> Value {
        object.set_at(&["metadata", "annotations", ANNOTATION], last.to_string());
        object.set_at(&["metadata", "uid"], "u");
        let made = object.clone();
        deployments().update(None, &mut object, "kubectl-client-side-apply", now(), None);
        assert_ne!(made, object);
        object
    }

    fn conflicts(result: Result<Value, ApiError>) -> Vec<String> {
        match result {
            Ok(_) => Vec::new(),
            Err(ApiError::ApplyConflict { causes, .. }) => causes.into_iter().map(|(path, _)| path).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    /// Upstream's own cases.
    #[test]
    fn kubectl_takes_what_it_applied_itself() {
        let old = [("c", "v1"), ("c2", "v2")];
        let last = deployment("", &spec(3, "a", &old));
        let differs = deployment(r#","labels":{"app":"a"}"#, &spec(100, "a", &[("c", "v9")]));
        let same = deployment("", &spec(3, "a", &[("c", "v1")]));
        let other_version = Value::parse(last.to_string().replace("apps/v1", "apps/v1beta1").as_bytes()).unwrap();
        let unknown = deployment("", r#"{"replicas":3,"nothing":1}"#);
        let image = r#".spec.template.spec.containers[name="c"].image"#;
        let (replicas, selector, label) = (".spec.replicas", ".spec.selector", ".spec.template.metadata.labels.app");
        let all = [replicas, selector, image, label];
        let new = deployment("", &spec(333, "b", &[("c", "new")]));
        let new_label = deployment(r#","labels":{"app":"b"}"#, &spec(333, "b", &[("c", "new")]));
        // What the object has, what the annotation says, what is applied by whom; what conflicts.
        let cases: [(&Value, &Value, &Value, &str, &[&str]); 6] = [
            (&differs, &last, &new_label, "kubectl", &[".metadata.labels.app", replicas, image]),
            (&same, &last, &new, "kubectl", &[]),
            (&same, &last, &new, "another", &all),
            (&same, &other_version, &new, "kubectl", &all),
            (&same, &unknown, &new, "kubectl", &all),
            (&same, &Value::from(""), &new, "kubectl", &all),
        ];
        for (object, last, config, manager, wanted) in cases {
            let live = applied_by_client(object.clone(), last);
            let mut found = conflicts(deployments().apply(Some(&live), config, manager, false, now(), None));
            found.sort();
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{manager} {last}");
        }
    }

    #[test]
    fn the_annotation_follows_what_kubectl_applies() {
        let sent =
            deployment(r#","annotations":{"a":"<&>","kubectl.kubernetes.io/last-applied-configuration":"x"}"#, "{}");
        let with = |text: &str| deployment(&format!(r#","annotations":{{"{ANNOTATION}":"{text}"}}"#), "{}");
        let note = |mut object: Value, manager: &str, sent: &Value| {
            note_last_applied(&mut object, sent, manager);
            object.annotation(ANNOTATION).map(str::to_owned)
        };
        let wanted = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"annotations\":{\"a\":\"\\u003c\\u0026\\u003e\"},\"name\":\"web\"},\"spec\":{}}\n";
        assert_eq!(note(with("old"), "kubectl", &sent).as_deref(), Some(wanted));
        assert_eq!(note(with("old"), "another", &sent).as_deref(), Some("old"));
        assert_eq!(note(with(""), "kubectl", &sent).as_deref(), Some(""));
        assert_eq!(note(deployment("", "{}"), "kubectl", &sent), None);
        let large = deployment(&format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(ANNOTATIONS_BYTES_MAX)), "{}");
        assert_eq!(note(with("old"), "kubectl", &large), None);
    }
}

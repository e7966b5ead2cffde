//! One operation on one path: its id, parameters, bodies and Kubernetes' extensions.

use super::schemas::{list_name, reference};
use super::{Form, Resource, Subresource, kind_value};
use crate::gvk::GroupVersionKind;
use crate::json::{Map, Value};
use crate::schema::Type;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_WATCH: &str = "application/json;stream=watch";
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Nothing is known of how lists of custom resources are merged.
const CUSTOM_PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: &[(&str, &str)] = &[("force", "boolean")];
const LIST: &[(&str, &str)] = &[
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
];
const WATCH: &[(&str, &str)] = &[("allowWatchBookmarks", "boolean"), ("watch", "boolean")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LOG: &[(&str, &str)] = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("sinceTime", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];
const STREAMS: &[(&str, &str)] =
    &[("container", "string"), ("stderr", "boolean"), ("stdin", "boolean"), ("stdout", "boolean"), ("tty", "boolean")];
const COMMAND: &[(&str, &str)] = &[("command", "string")];
const PORTS: &[(&str, &str)] = &[("ports", "integer")];
const PRETTY: &[(&str, &str)] = &[("pretty", "string")];

/// What an operation works on.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Collection,
    AllNamespaces,
    Object,
    Subresource(&'a Subresource),
}

/// One operation.
pub(super) struct Operation<'a> {
    pub(super) resource: &'a Resource,
    pub(super) target: Target<'a>,
    pub(super) verb: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) form: Form,
}

impl Operation<'_> {
    pub(super) fn value(&self) -> Map {
        let mut map = Map::new();
        map.insert("operationId", self.id());
        map.insert("tags", vec![tag(&self.resource.kind)]);
        map.insert("x-kubernetes-action", self.action());
        map.insert("x-kubernetes-group-version-kind", kind_value(self.kind()));
        let mut parameters: Vec<Value> = Vec::new();
        match (self.form, self.body()) {
            (Form::V2, Some((schema, required))) => {
                let body: Map = [
                    ("in", Value::from("body")),
                    ("name", "body".into()),
                    ("required", required.into()),
                    ("schema", schema.into()),
                ]
                .into_iter()
                .collect();
                parameters.push(body.into());
            }
            (Form::V3, Some((schema, required))) => {
                let body: Map =
                    [("content", Value::from(content(self.consumes(), &schema))), ("required", required.into())]
                        .into_iter()
                        .collect();
                map.insert("requestBody", body);
            }
            (_, None) => {}
        }
        for (name, kind) in self.query().into_iter().flatten() {
            parameters.push(parameter("query", name, kind, self.form).into());
        }
        map.insert("parameters", parameters);
        map.insert("responses", self.responses());
        if self.form == Form::V2 {
            map.insert("consumes", self.consumes().to_vec());
            map.insert("produces", self.produces().to_vec());
            map.insert("schemes", vec!["https"]);
        }
        map
    }

    fn action(&self) -> &str {
        match self.verb {
            "create" => "post",
            "update" => "put",
            other => other,
        }
    }

    fn kind(&self) -> &GroupVersionKind {
        match self.target {
            Target::Subresource(s) => &s.kind,
            _ => &self.resource.kind,
        }
    }

    fn ty(&self) -> Option<&Type> {
        match self.target {
            Target::Subresource(s) => s.ty.as_ref().map(|t| t.get()),
            _ => Some(self.resource.ty.get()),
        }
    }

    /// `patchAppsV1NamespacedDeploymentScale`
    fn id(&self) -> String {
        let verb = match self.verb {
            "get" => "read",
            "update" => "replace",
            "connect" if self.method == "get" => "connectGet",
            "connect" => "connectPost",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let namespaced = if self.path.contains("{namespace}") { "Namespaced" } else { "" };
        let group = capitalized(&tag(&self.resource.kind).replace('_', ""));
        let group = group.strip_suffix(&*self.resource.kind.version).unwrap_or(&group).to_owned();
        let version = capitalized(&self.resource.kind.version);
        let kind = &self.resource.kind.kind;
        let rest = match self.target {
            Target::Subresource(s) => capitalized(&s.name),
            Target::AllNamespaces => "ForAllNamespaces".to_owned(),
            _ => String::new(),
        };
        format!("{verb}{group}{version}{namespaced}{kind}{rest}")
    }

    /// The request's body, and whether it must be there.
    fn body(&self) -> Option<(Map, bool)> {
        let named = |name: &str| reference(name, self.form);
        match self.verb {
            "create" | "update" => self.ty().map(|t| (named(&t.name), true)),
            "patch" => Some((named(&format!("{META}.Patch")), true)),
            "delete" | "deletecollection" => Some((named(&format!("{META}.DeleteOptions")), false)),
            _ => None,
        }
    }

    fn query(&self) -> Vec<&'static [(&'static str, &'static str)]> {
        let name = if let Target::Subresource(s) = self.target { s.name.as_str() } else { "" };
        match (self.verb, name) {
            ("get", "log") => vec![LOG, PRETTY],
            ("connect", "exec") => vec![COMMAND, STREAMS],
            ("connect", "attach") => vec![STREAMS],
            ("connect", "portforward") => vec![PORTS],
            ("list", _) => vec![LIST, WATCH, PRETTY],
            ("create" | "update", _) => vec![WRITE, PRETTY],
            ("patch", _) => vec![WRITE, FORCE, PRETTY],
            ("delete", _) => vec![DELETE, PRETTY],
            // What a list and a delete share stands in both, once here.
            ("deletecollection", _) => vec![DELETE, LIST, PRETTY],
            _ => vec![PRETTY],
        }
    }

    fn consumes(&self) -> &'static [&'static str] {
        match self.verb {
            "patch" if self.resource.ty.get().definition.is_some() => &CUSTOM_PATCHES,
            "patch" => &PATCHES,
            _ => &["*/*"],
        }
    }

    fn produces(&self) -> &'static [&'static str] {
        match self.verb {
            "list" => &[JSON, YAML, JSON_WATCH],
            "connect" => &["*/*"],
            _ => &[JSON, YAML],
        }
    }

    fn responses(&self) -> Map {
        let answer = match self.verb {
            "list" => Some(list_name(self.resource.ty.get())),
            "delete" | "deletecollection" => Some(format!("{META}.Status")),
            "connect" => None,
            _ => self.ty().map(|t| t.name.to_string()),
        };
        let schema = answer
            .map_or_else(|| [("type", "string")].into_iter().collect::<Map>(), |name| reference(&name, self.form));
        let with_body = |description: &str| -> Map {
            let mut response: Map = [("description", description)].into_iter().collect();
            match self.form {
                Form::V2 => response.insert("schema", schema.clone()),
                Form::V3 => response.insert("content", content(self.produces(), &schema)),
            };
            response
        };
        let mut responses = Map::new();
        responses.insert("200", with_body("OK"));
        match self.verb {
            "create" => {
                responses.insert("201", with_body("Created"));
                responses.insert("202", with_body("Accepted"));
            }
            "update" | "patch" => drop(responses.insert("201", with_body("Created"))),
            "delete" => drop(responses.insert("202", with_body("Accepted"))),
            _ => {}
        }
        responses.insert("401", [("description", "Unauthorized")].into_iter().collect::<Map>());
        responses
    }
}

fn content(media_types: &[&str], schema: &Map) -> Map {
    media_types.iter().map(|m| (*m, [("schema", schema.clone())].into_iter().collect::<Map>())).collect()
}

fn parameter(place: &str, name: &str, kind: &str, form: Form) -> Map {
    let mut map: Map = [("in", place), ("name", name)].into_iter().collect();
    match form {
        Form::V2 => map.insert("type", kind),
        Form::V3 => map.insert("schema", [("type", kind)].into_iter().collect::<Map>()),
    };
    map.insert("uniqueItems", true);
    if form == Form::V3 {
        map.remove("uniqueItems");
    }
    if place == "path" {
        map.insert("required", true);
    }
    map
}

/// Parameters of the path itself.
pub(super) fn path_parameters(path: &str, form: Form) -> Vec<Map> {
    ["name", "namespace"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| parameter("path", name, "string", form))
        .collect()
}

/// `apps_v1`, `core_v1`, `rbacAuthorization_v1`
fn tag(kind: &GroupVersionKind) -> String {
    let group = if kind.group.is_empty() { "core" } else { kind.group.trim_end_matches(".k8s.io") };
    let mut parts = group.split(['.', '-']);
    let first = parts.next().unwrap_or_default().to_owned();
    let group = parts.fold(first, |tag, part| tag + &capitalized(part));
    format!("{group}_{}", kind.version)
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

//! OpenAPI v2 (Swagger) and v3 documents, made of the schema table and the rows of what is served.
//!
//! Good enough that every kubectl's `explain`, `apply` and `diff` work: definitions with Kubernetes' extensions, paths with
//! their kinds, actions and query parameters. v2 also in the protobuf form that older kubectls ask for.

mod custom;
mod descriptions;
mod operations;
mod paths;
mod protobuf;
mod schemas;

use crate::gvk::GroupVersionKind;
use crate::json::{Map, Value};
use crate::schema::TypeRef;

pub use descriptions::Descriptions;
pub use protobuf::v2_to_protobuf;

/// Media type of [`v2_to_protobuf`]'s bytes, as the answer names it.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same as clients ask for it. It is no valid media type, so no answer may carry it.
pub const V2_PROTOBUF_REQUESTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A resource that is served.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its kind.
    pub kind: GroupVersionKind,
    /// `deployments`
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// `create`, `get`, `list`, `watch`, `update`, `patch`, `delete`, `deletecollection`
    pub verbs: Vec<String>,
    /// The objects' type.
    pub ty: TypeRef,
    /// What lies below an object.
    pub subresources: Vec<Subresource>,
}

/// Something below an object: `status`, `scale`, `log` …
#[derive(Debug, Clone)]
pub struct Subresource {
    /// `scale`
    pub name: String,
    /// `get`, `create`, `update`, `patch`, `connect`
    pub verbs: Vec<String>,
    /// The kind of its objects: `autoscaling/v1/Scale`.
    pub kind: GroupVersionKind,
    /// Their type; nothing for streams of bytes.
    pub ty: Option<TypeRef>,
}

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

/// The Swagger document of all that is served. `version` is the server's: `v1.36.0`.
pub fn v2(resources: &[Resource], version: &str, descriptions: &Descriptions<'_>) -> Value {
    let mut document = Map::new();
    document.insert("swagger", "2.0");
    document.insert("info", info(version));
    document.insert("paths", paths::paths(resources, Form::V2));
    document.insert("definitions", schemas::definitions(resources, Form::V2, descriptions));
    document.insert("securityDefinitions", security_schemes());
    document.insert("security", security());
    document.into()
}

/// The v3 document of the resources of one group and version, all of which the caller hands in.
pub fn v3(resources: &[Resource], version: &str, descriptions: &Descriptions<'_>) -> Value {
    let mut components = Map::new();
    components.insert("schemas", schemas::definitions(resources, Form::V3, descriptions));
    components.insert("securitySchemes", security_schemes());
    let mut document = Map::new();
    document.insert("openapi", "3.0.0");
    document.insert("info", info(version));
    document.insert("paths", paths::paths(resources, Form::V3));
    document.insert("components", components);
    document.insert("security", security());
    document.into()
}

/// What `/openapi/v3` answers: each document's path and where it is, with its hash. `documents` are `(api/v1 or
/// apis/GROUP/VERSION, hash)`.
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths = documents.into_iter().map(|(path, hash)| {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, [("serverRelativeURL", url)].into_iter().collect::<Map>())
    });
    [("paths", paths.collect::<Map>())].into_iter().collect::<Map>().into()
}

fn info(version: &str) -> Map {
    [("title", "Kubernetes"), ("version", version)].into_iter().collect()
}

fn security_schemes() -> Map {
    let token: Map = [
        ("description", "Bearer Token authentication"),
        ("in", "header"),
        ("name", "authorization"),
        ("type", "apiKey"),
    ]
    .into_iter()
    .collect();
    [("BearerToken", token)].into_iter().collect()
}

fn security() -> Vec<Map> {
    vec![[("BearerToken", Vec::<Value>::new())].into_iter().collect()]
}

/// The extension that names a kind.
fn kind_value(kind: &GroupVersionKind) -> Map {
    [("group", &*kind.group), ("kind", &*kind.kind), ("version", &*kind.version)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{self, Schema};

    pub(super) fn deployments() -> Resource {
        let verbs = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let ty = |name: &str| match Schema::builtin(name) {
            Some(Schema::Struct(ty, _)) => ty,
            _ => panic!("{name} is built in"),
        };
        Resource {
            kind: GroupVersionKind::new("apps", "v1", "Deployment"),
            plural: "deployments".into(),
            namespaced: true,
            verbs: verbs(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
            ty: ty("io.k8s.api.apps.v1.Deployment"),
            subresources: vec![Subresource {
                name: "scale".into(),
                verbs: verbs(&["get", "patch", "update"]),
                kind: GroupVersionKind::new("autoscaling", "v1", "Scale"),
                ty: Some(ty("io.k8s.api.autoscaling.v1.Scale")),
            }],
        }
    }

    #[test]
    fn the_swagger_document_has_what_kubectl_looks_for() {
        let document = v2(&[deployments()], "v1.36.0", &Descriptions::default());
        let patch =
            document.at(&["paths", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}", "patch"]).unwrap();
        assert_eq!(patch.str_at(&["x-kubernetes-action"]), Some("patch"));
        assert_eq!(patch.str_at(&["x-kubernetes-group-version-kind", "kind"]), Some("Deployment"));
        assert_eq!(patch.str_at(&["operationId"]), Some("patchAppsV1NamespacedDeployment"));
        let parameters = patch.get("parameters").and_then(Value::as_array).unwrap();
        let names: Vec<_> = parameters.iter().filter_map(|p| p.str_at(&["name"])).collect();
        for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
            assert!(names.contains(&name), "{name}");
        }
        let containers =
            document.at(&["definitions", "io.k8s.api.core.v1.PodSpec", "properties", "containers"]).unwrap();
        let wanted = br##"{"type":"array","items":{"$ref":"#/definitions/io.k8s.api.core.v1.Container"},
            "x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map",
            "x-kubernetes-patch-merge-key":"name","x-kubernetes-patch-strategy":"merge"}"##;
        assert_eq!(containers, &Value::parse(wanted).unwrap());
        let kinds = document.at(&["definitions", "io.k8s.api.apps.v1.Deployment", "x-kubernetes-group-version-kind"]);
        assert_eq!(kinds.and_then(Value::as_array).unwrap()[0].str_at(&["version"]), Some("v1"));
    }

    #[test]
    fn references_lead_somewhere() {
        let none = Descriptions::default();
        for (document, prefix, at) in [
            (v2(&[deployments()], "v1", &none), "#/definitions/", vec!["definitions"]),
            (v3(&[deployments()], "v1", &none), "#/components/schemas/", vec!["components", "schemas"]),
        ] {
            let schemas = document.at(&at).and_then(Value::as_object).unwrap();
            let text = document.to_string();
            for reference in text.split("\"$ref\":\"").skip(1) {
                let name = reference.split('"').next().unwrap().strip_prefix(prefix).unwrap();
                assert!(schemas.contains_key(name), "{name}");
            }
            assert!(schemas.contains_key("io.k8s.api.apps.v1.DeploymentList"));
        }
        let all: Vec<Resource> = schema::types()
            .iter()
            .filter(|t| t.kinds.len() == 1 && t.field("spec").is_some())
            .map(|t| Resource {
                kind: t.kinds[0].clone(),
                ty: match Schema::builtin(&t.name) {
                    Some(Schema::Struct(ty, _)) => ty,
                    _ => panic!("it is built in"),
                },
                ..deployments()
            })
            .collect();
        assert!(v2(&all, "v1", &none).to_bytes().len() > 500_000);
    }

    #[test]
    fn the_index_names_each_document() {
        let index = v3_index([("apis/apps/v1", "AB"), ("api/v1", "CD")]);
        assert_eq!(
            index.str_at(&["paths", "apis/apps/v1", "serverRelativeURL"]),
            Some("/openapi/v3/apis/apps/v1?hash=AB")
        );
    }
}

//! Objects survive the way there and back, and bytes of Go's encoder read as they should.

mod generate;
mod peer;
mod upstream;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::schema::{FieldValidation, check, decode_tree, lookup, types};
use crate::yaml;

fn there_and_back(text: &str, ty: &str) {
    let ty = lookup(ty).unwrap();
    let tree =
        decode_tree(Value::parse(text.as_bytes()).unwrap(), Vec::new(), ty, FieldValidation::Strict).unwrap().tree;
    let bytes = encode(&tree, ty).unwrap();
    let document = Document::read(&bytes).unwrap();
    assert_eq!(document.kind, tree.str_at(&["kind"]).unwrap());
    assert_eq!(document.decode(ty).unwrap(), tree);
}

#[test]
fn objects_survive() {
    there_and_back(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b","c":""},"creationTimestamp":"2024-01-02T03:04:05Z",
        "managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}}}]},
        "spec":{"containers":[{"name":"c","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m"}},
        "livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":5},"readinessProbe":{"tcpSocket":{"port":80}},
        "env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"cm","key":"k","optional":false}}}]}],
        "volumes":[{"name":"v","emptyDir":{}},{"name":"s","secret":{"secretName":"x","defaultMode":420}}],
        "terminationGracePeriodSeconds":0,"priority":-5}}"#,
        "io.k8s.api.core.v1.Pod",
    );
    there_and_back(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"aGVsbG8=","b":""},"type":"Opaque"}"#,
        "io.k8s.api.core.v1.Secret",
    );
    there_and_back(
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"},"spec":{"renewTime":"2024-01-02T03:04:05.123456Z"}}"#,
        "io.k8s.api.coordination.v1.Lease",
    );
    there_and_back(
        r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"u","extra":{"k":["a","b"]}},"status":{"allowed":true}}"#,
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    );
    there_and_back(
        r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"x"},"spec":{"group":"g","scope":"Namespaced",
        "names":{"plural":"p","kind":"K"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
        "properties":{"a":{"type":"array","items":{"type":"string"},"default":["x"]},"b":{"additionalProperties":false,"x-kubernetes-int-or-string":true}}}}}]}}"#,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    );
}

/// Go writes the verbs of a resource as a message of their own.
#[test]
fn verbs_are_a_message() {
    let list = r#"{"apiVersion":"v1","kind":"APIResourceList","groupVersion":"v1","resources":[
        {"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]}]}"#;
    there_and_back(list, "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList");
    let ty = lookup("io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList").unwrap();
    let bytes = encode(&Value::parse(list.as_bytes()).unwrap(), ty).unwrap();
    let verbs = b"\x22\x0b\x0a\x03get\x0a\x04list";
    assert!(bytes.windows(verbs.len()).any(|window| window == verbs), "{bytes:?}");
}

#[test]
fn bytes_are_as_go_reads_them() {
    let ty = lookup("io.k8s.api.core.v1.ConfigMap").unwrap();
    let tree =
        Value::parse(br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#).unwrap();
    let wanted =
        b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v\x1a\x00\x22\x00";
    assert_eq!(encode(&tree, ty).unwrap(), wanted);
    // Go writes empty fields too, and the zero time as an empty message.
    let go = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x13\x0a\x11\x0a\x01a\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00\x1a\x00\x22\x00";
    let tree = Document::read(go).unwrap().decode(ty).unwrap();
    let tree = decode_tree(tree, Vec::new(), ty, FieldValidation::Strict).unwrap().tree;
    assert_eq!(tree, Value::parse(br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#).unwrap());
}

#[test]
fn every_field_that_is_written_has_a_number_of_its_own() {
    for ty in types() {
        let mut numbers: Vec<&[u32]> = ty.fields.iter().map(|f| f.proto.as_slice()).filter(|p| !p.is_empty()).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{}", ty.name);
    }
}

/// Objects of each type that are made and read back; each fills half of the fields.
const OBJECTS: u64 = 12;

/// Whether two objects are one in JSON; else where they part.
fn same(a: &Value, b: &Value) -> Result<(), String> {
    let (a, b) = (a.to_string(), b.to_string());
    if a == b {
        return Ok(());
    }
    let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let near = |s: &str| s.chars().skip(at.saturating_sub(50)).take(100).collect::<String>();
    Err(format!("\n  {}\n  {}", near(&a), near(&b)))
}

#[test]
fn every_field_of_every_type_survives_json_yaml_and_protobuf() {
    let (mut report, mut filled) = (String::new(), HashSet::new());
    for ty in types() {
        for seed in 0..OBJECTS {
            let mut maker = generate::Maker::new(seed);
            let mut tree = maker.whole(ty);
            filled.extend(maker.filled);
            check(&mut tree, ty).unwrap();
            let mut compare = |form: &str, read: Result<Value, String>| {
                let found = read.and_then(|mut read| {
                    check(&mut read, ty).map_err(|e| e.to_string())?;
                    same(&read, &tree)
                });
                if let Err(difference) = found {
                    report.push_str(&format!("{} {seed}, {form}: {difference}\n", ty.name));
                }
            };
            compare("JSON", Value::parse(&tree.to_bytes()).map_err(|e| e.to_string()));
            compare("YAML", yaml::parse(yaml::write(&tree).as_bytes()).map_err(|e| e.to_string()));
            let bytes = encode(&tree, ty).unwrap();
            compare("protobuf", Document::read(&bytes).and_then(|d| d.decode(ty)).map_err(|e| e.to_string()));
        }
    }
    let missed = types().iter().flat_map(|ty| ty.fields.iter().filter(|f| !f.proto.is_empty()).map(move |f| (ty, f)));
    let missed = missed.filter(|(ty, f)| !filled.contains(&(ty.name.to_string(), f.name.to_string())));
    let missed: Vec<String> = missed.map(|(ty, f)| format!("{}.{}", ty.name, f.name)).collect();
    assert!(missed.is_empty(), "never filled: {missed:?}");
    assert!(report.is_empty(), "{report}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let ty = lookup("io.k8s.api.core.v1.Pod").unwrap();
        let document = Document { api_version: String::new(), kind: String::new(), message: &bytes };
        let _ = document.decode(ty);
        let _ = Document::read(&[&MAGIC, bytes.as_slice()].concat());
    }
}

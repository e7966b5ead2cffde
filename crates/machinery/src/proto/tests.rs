//! Objects survive the way there and back, and bytes of Go's encoder read as they should.

use proptest::prelude::*;

use super::*;
use crate::schema::{Field, FieldValidation, Schema, decode_tree, lookup, types};

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

/// Some value of a schema. `pick` chooses.
fn sample(schema: &Schema, pick: &mut impl FnMut() -> u32, depth: usize) -> Value {
    match schema {
        Schema::String => format!("s{}", pick()).into(),
        Schema::Bytes => "aGVsbG8=".into(),
        Schema::Bool => true.into(),
        Schema::Int32 => (pick().cast_signed() | 1).into(),
        Schema::Int64 => (i64::from(pick()) << 20 | 1).into(),
        Schema::Double => (f64::from(pick()) + 0.5).into(),
        Schema::Quantity => format!("{}m", pick() | 1).into(),
        Schema::Time => "2024-01-02T03:04:05Z".into(),
        Schema::MicroTime => "2024-01-02T03:04:05.000006Z".into(),
        Schema::Duration => "1h0m5s".into(),
        Schema::IntOrString => {
            if pick().is_multiple_of(2) {
                5.into()
            } else {
                "x".into()
            }
        }
        Schema::Object(_) => Value::parse(br#"{"a":1}"#).unwrap(),
        Schema::Any(of) if of.ends_with("OrBool") => true.into(),
        Schema::Any(of) if of.ends_with("OrStringArray") => vec!["a", "b"].into(),
        Schema::Any(of) if of.ends_with("OrArray") => Value::Array(vec![Value::object(), Value::object()]),
        Schema::Any(_) => vec![1, 2].into(),
        Schema::List(list) => {
            vec![sample(&list.element, pick, depth + 1), sample(&list.element, pick, depth + 1)].into()
        }
        Schema::Map(of) => [("k", sample(&of.element, pick, depth + 1))].into_iter().collect::<crate::Map>().into(),
        Schema::Struct(ty, _) => object(ty.get(), pick, depth + 1),
    }
}

fn object(ty: &Type, pick: &mut impl FnMut() -> u32, depth: usize) -> Value {
    let chosen = ty.fields.iter().filter(|f| !f.proto.is_empty());
    let chosen: Vec<&Field> = chosen.filter(|_| depth < 7 && pick().is_multiple_of(3)).collect();
    let entries = chosen.into_iter().map(|field| (field.name.as_ref(), sample(&field.schema, pick, depth)));
    entries.collect::<crate::Map>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_object_of_any_type_survives(row in any::<prop::sample::Index>(), seed in any::<u32>()) {
        let ty = &types()[row.index(types().len())];
        let mut state = seed | 1;
        let mut pick = move || {
            // xorshift: a sequence of its own for each seed.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 3
        };
        let tree = object(ty, &mut pick, 0);
        let bytes = encode(&tree, ty).unwrap();
        let back = Document::read(&bytes).unwrap().decode(ty).unwrap();
        prop_assert_eq!(&back, &tree, "{}", ty.name);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let ty = lookup("io.k8s.api.core.v1.Pod").unwrap();
        let document = Document { api_version: String::new(), kind: String::new(), message: &bytes };
        let _ = document.decode(ty);
        let _ = Document::read(&[&MAGIC, bytes.as_slice()].concat());
    }
}

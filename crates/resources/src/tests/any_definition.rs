//! Nothing that a client sends as a definition, or as an object of one, makes the server fall.

use jiff::Timestamp;
use machinery::json::{Map, Value};
use machinery::schema::{FieldValidation, decode_tree};
use proptest::prelude::*;

use super::{parse, row};
use crate::{Target, custom};

const WORDS: [&str; 22] = [
    "type",
    "properties",
    "items",
    "additionalProperties",
    "default",
    "nullable",
    "enum",
    "pattern",
    "format",
    "required",
    "minimum",
    "maxLength",
    "allOf",
    "anyOf",
    "not",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-validations",
    "metadata",
];
const TEXTS: [&str; 12] =
    ["object", "array", "string", "integer", "set", "map", "date", "^[a-z", "self.a > 1", ".spec.a", "a", "\u{1F600}"];

/// Any tree, most of it of words that mean something in schemas.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        prop::sample::select(TEXTS.to_vec()).prop_map(Value::from),
    ];
    let key = prop_oneof![prop::sample::select(WORDS.to_vec()), prop::sample::select(TEXTS.to_vec())];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|entries| entries.into_iter().collect::<Map>().into()),
        ]
    })
}

/// Trees that are schemas more often than not.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            r#"{"type":"string","default":"a","maxLength":3,"enum":["a","b"]}"#,
            r#"{"type":"integer","minimum":1,"nullable":true}"#,
            r#"{"x-kubernetes-int-or-string":true}"#,
            r#"{"x-kubernetes-preserve-unknown-fields":true}"#,
            r#"{"type":"string","format":"date-time","x-kubernetes-validations":[{"rule":"self != oldSelf"}]}"#,
            r#"{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}"#,
        ])
        .prop_map(parse),
        tree(),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec((prop::sample::select(vec!["a", "b", "metadata", "spec"]), inner.clone()), 0..4)
                .prop_map(|fields| {
                    let mut schema = parse(r#"{"type":"object"}"#);
                    schema.set_at(&["properties"], fields.into_iter().collect::<Map>());
                    schema
                }),
            inner.clone().prop_map(|items| {
                let mut schema =
                    parse(r#"{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a"]}"#);
                schema.set_at(&["items"], items);
                schema
            }),
            inner.prop_map(|values| {
                let mut schema = parse(r#"{"type":"object"}"#);
                schema.set_at(&["additionalProperties"], values);
                schema
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_definition_makes_the_server_fall(schema in schema(), other in tree(), object in tree(), old in tree()) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
        let definitions = row("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let mut crd = parse(r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},
            "spec":{"group":"example.com","scope":"Cluster","names":{"plural":"foos","kind":"Foo"},
            "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},
            "additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".spec.a"}]}]}}"#);
        if let Some(version) = crd.at_mut(&["spec", "versions"]).and_then(Value::as_array_mut).and_then(|list| list.first_mut()) {
            version.set_at(&["schema", "openAPIV3Schema"], schema);
            version.set_at(&["conversion"], other.clone());
        }
        definitions.default(&mut crd);
        definitions.strategy.prepare_for_create(&mut crd);
        definitions.strategy.validate(&crd);
        definitions.strategy.warnings(&crd);
        let mut changed = crd.clone();
        changed.set_at(&["spec", "versions"], vec![other]);
        definitions.strategy.validate_update(&changed, &crd, Target::Object);
        crd.set_at(&["status"], custom::status(&crd, &[&changed], now));
        for row in custom::rows(&crd).into_iter().chain(custom::rows(&changed)) {
            let Some(ty) = &row.schema else { continue };
            let mut tree = Value::object();
            tree.set_at(&["spec"], object.clone());
            tree.set_at(&["a"], old.clone());
            let Ok(decoded) = decode_tree(tree, Vec::new(), ty, FieldValidation::Warn) else { continue };
            let mut tree = decoded.tree;
            row.default(&mut tree);
            let once = tree.clone();
            row.default(&mut tree);
            prop_assert_eq!(&tree, &once, "defaults are idempotent");
            row.strategy.validate(&tree);
            row.strategy.validate_update(&tree, &old, Target::Object);
            row.strategy.validate_update(&tree, &old, Target::Subresource("status"));
            row.strategy.wants_new_generation(&tree, &old);
            row.strategy.from_storage(&mut tree);
            for column in row.all_columns() {
                column.cell.of(&tree, now);
            }
        }
    }
}

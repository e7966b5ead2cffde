//! Definitions of custom resources, and the rows made of them.

use jiff::Timestamp;
use machinery::schema::{FieldValidation, decode_tree};

use super::{Changed, Invalid, created, parse, problems};
use crate::{Resource, Subresource, Target, custom};

pub(super) const VALID: &[&str] = &[CRON_TABS];

/// The example of Kubernetes' documentation, with everything that a definition can have.
const CRON_TABS: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
    "metadata":{"name":"crontabs.stable.example.com"},"spec":{"group":"stable.example.com","scope":"Namespaced",
    "names":{"plural":"crontabs","kind":"CronTab","shortNames":["ct"],"categories":["all"]},
    "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
      "required":["spec"],"properties":{
        "spec":{"type":"object","required":["cronSpec"],"properties":{
          "cronSpec":{"type":"string","pattern":"^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
          "image":{"type":"string","default":"busybox"},
          "replicas":{"type":"integer","minimum":1,"maximum":10,"default":1},
          "ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port","protocol"],
            "items":{"type":"object","required":["port"],"properties":{"port":{"type":"integer"},
              "protocol":{"type":"string","default":"TCP"}}}},
          "port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
          "template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}},
        "status":{"type":"object","properties":{"replicas":{"type":"integer","minimum":0},"labelSelector":{"type":"string"}}}}}},
      "subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas",
        "labelSelectorPath":".status.labelSelector"}},
      "selectableFields":[{"jsonPath":".spec.image"}],
      "additionalPrinterColumns":[{"name":"Spec","type":"string","jsonPath":".spec.cronSpec","description":"When"},
        {"name":"Replicas","type":"integer","jsonPath":".spec.replicas","priority":1},
        {"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}]}]}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"a"},"spec":{}}"#,
        &[
            "metadata.name: Invalid value: \"a\": must be spec.names.plural+\".\"+spec.group",
            "spec.group: Required value",
            "spec.scope: Required value",
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
            "spec.names.plural: Required value",
            "spec.names.singular: Required value",
            "spec.names.kind: Required value",
            "spec.names.listKind: Required value",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ],
    ),
    (
        r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"as.k8s.io"},"spec":{
            "group":"k8s.io","scope":"Everywhere","preserveUnknownFields":true,
            "names":{"plural":"as","kind":"A","listKind":"A","shortNames":["B"]},
            "conversion":{"strategy":"Webhook"},
            "versions":[{"name":"1","served":true,"storage":true,"deprecationWarning":"old"}]}}"#,
        &[
            "spec.scope: Unsupported value: \"Everywhere\": supported values: \"Cluster\", \"Namespaced\"",
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            "spec.versions[0].name: Invalid value: \"1\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions",
            "spec.names.shortNames[0]: Invalid value: \"B\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.names.listKind: Invalid value: \"A\": kind and listKind may not be the same",
            "spec.conversion.strategy: Invalid value: \"Webhook\": must be None if spec.preserveUnknownFields is true",
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", CRON_TABS, &["spec", "names", "kind"], "\"Other\"", &[]),
    (
        "",
        CRON_TABS,
        &["spec", "group"],
        "\"b.example.com\"",
        &["spec.group: Invalid value: \"b.example.com\": field is immutable"],
    ),
    (
        "",
        CRON_TABS,
        &["spec", "names", "plural"],
        "\"others\"",
        &["spec.names.plural: Invalid value: \"others\": field is immutable"],
    ),
    (
        "status",
        CRON_TABS,
        &["status", "acceptedNames", "plural"],
        "\"B\"",
        &[
            "status.acceptedNames.plural: Invalid value: \"B\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ],
    ),
];

/// A definition with this in its version.
fn with_version(version: &str) -> String {
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"foos.example.com"}},
        "spec":{{"group":"example.com","scope":"Cluster","names":{{"plural":"foos","kind":"Foo"}},
        "versions":[{{"name":"v1","served":true,"storage":true,{version}}}]}}}}"#
    )
}

/// What is wrong with a schema, without where all schemas stand.
fn schema_problems(schema: &str) -> Vec<String> {
    let (row, object) = created(&with_version(&format!(r#""schema":{{"openAPIV3Schema":{schema}}}"#)));
    let found = problems(&row, &object);
    found.into_iter().map(|text| text.replace("spec.validation.openAPIV3Schema", "S")).collect()
}

/// `(schema, what is wrong with it)`
const SCHEMAS: &[(&str, &[&str])] = &[
    ("{}", &["S.type: Required value: must not be empty at the root"]),
    (r#"{"type":"string"}"#, &["S.type: Invalid value: \"string\": must be object at the root"]),
    (
        r#"{"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}}"#,
        &[
            "S.additionalProperties: Forbidden: must not be used at the root",
            "S.properties[a].type: Required value: must not be empty for specified object fields",
            "S.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"array"},"b":{"type":"array","items":{}}}}"#,
        &[
            "S.properties[a].items: Required value: must be specified",
            "S.properties[b].items.type: Required value: must not be empty for specified array items",
        ],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"object"}},"anyOf":[{"type":"object","description":"x",
                "properties":{"a":{"properties":{"b":{"minimum":1}}}}}]}"#,
        &[
            "S.anyOf[0].description: Forbidden: must be empty to be structural",
            "S.anyOf[0].type: Forbidden: must be empty to be structural",
            "S.properties[a].properties[b]: Required value: because it is defined in S.anyOf[0].properties[a].properties[b]",
        ],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"string","pattern":"(?!x)"}}}"#,
        &[
            "S.properties[a].pattern: Invalid value: \"(?!x)\": must be a valid regular expression, but isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?!`",
        ],
    ),
    (
        r#"{"type":"object","properties":{"metadata":{"type":"object","properties":{"labels":{"type":"object"}}}}}"#,
        &[
            "S.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    ),
    (
        r#"{"type":"object","properties":{"metadata":{"type":"object","properties":{"name":{"type":"string","maxLength":9}}}}}"#,
        &[],
    ),
    (
        r#"{"type":"object","properties":{"e":{"type":"object","x-kubernetes-embedded-resource":true}}}"#,
        &[
            "S.properties[e].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ],
    ),
    (
        r##"{"type":"object","$ref":"#/x","properties":{"a":{"type":"null","uniqueItems":true,"id":"i"}}}"##,
        &[
            "S.$ref: Forbidden: $ref is not supported",
            "S.properties[a].type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            "S.properties[a].id: Forbidden: id is not supported",
            "S.properties[a].type: Forbidden: type cannot be set to null, use nullable as an alternative",
            "S.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    ),
    (r#"{"type":"object","$schema":"x"}"#, &["S: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"]),
    (
        r#"{"type":"object","nullable":true,"x-kubernetes-preserve-unknown-fields":true,"properties":{"l":{"type":"array",
                "x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k","k","z"],
                "items":{"type":"object","nullable":true,"properties":{"k":{"type":"string"}}}}}}"#,
        &[
            "S.nullable: Forbidden: nullable cannot be true at the root",
            "S.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            "S.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            "S.properties[l].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"z\"]: must not contain duplicate entries",
            "S.properties[l].x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"z\"]: entries must all be names of item properties",
            "S.properties[l].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map",
        ],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"string","x-kubernetes-list-type":"set"},"b":{"type":"object","x-kubernetes-map-type":"loose"}}}"#,
        &[
            "S.properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
            "S.properties[b].x-kubernetes-map-type: Unsupported value: \"loose\": supported values: \"atomic\", \"granular\"",
        ],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"string","bogus":1}},"b":{"type":"array","items":{"type":5}}}}"#,
        &[
            "S.properties[b].items.type: Required value: must not be empty for specified array items",
            "S.properties[b].items: Invalid value: {\"type\":5}: json: cannot unmarshal number into Go struct field JSONSchemaProps.type of type string",
        ],
    ),
    (
        r#"{"type":"object","properties":{"metadata":{"type":"object"},"kind":{"type":"string","default":"x"}}}"#,
        &["S.properties[kind].default: Forbidden: must not be set in top-level kind"],
    ),
    (
        r#"{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"integer"}},
                "x-kubernetes-validations":[{"rule":" "},{"rule":"true","message":" ","reason":"Because","fieldPath":".c"}]}}}"#,
        &[
            "S.properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
            "S.properties[a].x-kubernetes-validations[1].message: Invalid value: \" \": message must be non-empty if specified",
            "S.properties[a].x-kubernetes-validations[1].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
            "S.properties[a].x-kubernetes-validations[1].fieldPath: Invalid value: \".c\": fieldPath must be a valid path",
        ],
    ),
];

#[test]
fn schemas_have_to_be_structural() {
    for (schema, wanted) in SCHEMAS {
        assert_eq!(schema_problems(schema), *wanted, "{schema}");
    }
}

#[test]
fn rules_have_to_compile() {
    let shown = |rule: &str| {
        format!(
            "Invalid value: {{\"Rule\":\"{rule}\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}"
        )
    };
    let at = "S.properties[a].x-kubernetes-validations[0].";
    let cases = [
        (r#"{"type":"integer","x-kubernetes-validations":[{"rule":"self > 0 && self >= oldSelf"}]}"#, String::new()),
        (
            r#"{"type":"integer","x-kubernetes-validations":[{"rule":"self + 1"}]}"#,
            format!("{at}rule: {}: cel expression must evaluate to a bool", shown("self + 1")),
        ),
        (
            r#"{"type":"array","items":{"type":"integer","x-kubernetes-validations":[{"rule":"self >= oldSelf"}]}}"#,
            "S.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[a]".to_owned(),
        ),
        (
            r#"{"type":"integer","default":-1,"x-kubernetes-validations":[{"rule":"self > 0"}]}"#,
            "S.properties[a].default: Invalid value: \"integer\": failed rule: self > 0".to_owned(),
        ),
        (
            r#"{"type":"integer","x-kubernetes-validations":[{"rule":"self > 0","optionalOldSelf":true}]}"#,
            format!("{at}optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"),
        ),
    ];
    for (schema, wanted) in cases {
        let found = schema_problems(&format!(r#"{{"type":"object","properties":{{"a":{schema}}}}}"#));
        assert_eq!(
            found.join("\n").replace("spec.validation.openAPIV3Schema", "S"),
            wanted.replace("spec.validation.openAPIV3Schema", "S"),
            "{schema}"
        );
    }
    let unknown = schema_problems(r#"{"type":"object","x-kubernetes-validations":[{"rule":"self.nothing"}]}"#);
    assert!(
        unknown[0].contains("compilation failed: ") && unknown[0].contains("undefined field 'nothing'"),
        "{unknown:?}"
    );
}

#[test]
fn objects_are_judged_by_rules() {
    let schema = r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"integer","maximum":9}},
        "x-kubernetes-validations":[{"rule":"self.a >= oldSelf.a","message":"a may only grow"}]}}}"#;
    let (_, mut crd) = created(&with_version(&format!(r#""schema":{{"openAPIV3Schema":{schema}}}"#)));
    crd.set_at(&["status"], custom::status(&crd, &[], "2026-01-01T00:00:00Z".parse().unwrap()));
    let row = custom::rows(&crd).pop().unwrap();
    let object = |a: &str| {
        parse(&format!(
            r#"{{"apiVersion":"example.com/v1","kind":"Foo","metadata":{{"name":"x"}},"spec":{{"a":{a}}}}}"#
        ))
    };
    let change = |old: &str, new: &str| {
        let errors = row.strategy.validate_update(&object(new), &object(old), Target::Object);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(row.strategy.validate(&object("1")), []);
    assert_eq!(change("1", "2"), "");
    assert_eq!(change("2", "1"), "spec: Invalid value: \"object\": a may only grow");
    let not_checked = "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    assert_eq!(
        change("1", "\"x\""),
        format!("spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\"\n{not_checked}")
    );
}

#[test]
fn defaults_have_to_be_valid() {
    let cases: [(&str, &[&str]); 4] = [
        (
            r#"{"type":"integer","default":"x"}"#,
            &["S.properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\""],
        ),
        (
            r#"{"type":"object","default":{"b":1,"c":2},"properties":{"b":{"type":"integer"}}}"#,
            &["S.properties[a].default: Invalid value: {\"b\":1,\"c\":2}: must not have unknown fields"],
        ),
        (
            r#"{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true,"default":{"kind":"Pod"}}"#,
            &["S.properties[a].default.apiVersion: Required value: must not be empty"],
        ),
        (
            r#"{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"apiVersion":{"type":"string","default":"a/b/c"},
                "kind":{"type":"string"},"metadata":{"type":"object"}}}"#,
            &[
                "S.properties[a].properties[apiVersion].default: Invalid value: \"a/b/c\": must result in valid metadata: apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            ],
        ),
    ];
    for (schema, wanted) in cases {
        let found = schema_problems(&format!(r#"{{"type":"object","properties":{{"a":{schema}}}}}"#));
        assert_eq!(found, wanted, "{schema}");
    }
}

#[test]
fn columns_subresources_and_selectable_fields_are_judged() {
    let (row, object) = created(&with_version(
        r#""schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"string"}}}}}},
        "additionalPrinterColumns":[{"name":"","type":"text","jsonPath":"spec","format":"x"}],
        "selectableFields":[{"jsonPath":".spec.a"},{"jsonPath":".spec.a"},{"jsonPath":".spec"},{"jsonPath":".spec.b"},{"jsonPath":""}],
        "subresources":{"scale":{"specReplicasPath":".status.x","statusReplicasPath":"","labelSelectorPath":".x"}}"#,
    ));
    let wanted = [
        "spec.subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
        "spec.subresources.scale.statusReplicasPath: Required value",
        "spec.subresources.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status",
        "spec.additionalPrinterColumns[0].name: Required value",
        "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        "spec.additionalPrinterColumns[0].format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password",
        "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.a\"",
        "spec.selectableFields[2].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with allowed formats are supported.",
        "spec.selectableFields[3].jsonPath: Invalid value: \".spec.b\": is an invalid path: does not refer to a valid field",
        "spec.selectableFields[4].jsonPath: Required value",
    ];
    assert_eq!(problems(&row, &object), wanted);
}

#[test]
fn what_is_established_keeps_its_scope_and_kind() {
    let (row, mut old) = created(CRON_TABS);
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    old.set_at(&["status"], custom::status(&old, &[], now));
    let mut new = old.clone();
    new.set_at(&["spec", "scope"], "Cluster");
    new.set_at(&["spec", "names", "kind"], "Other");
    let errors: Vec<String> =
        row.strategy.validate_update(&new, &old, Target::Object).iter().map(ToString::to_string).collect();
    let wanted = [
        "spec.scope: Invalid value: \"Cluster\": field is immutable",
        "spec.names.kind: Invalid value: \"Other\": field is immutable",
    ];
    assert_eq!(errors, wanted);
}

/// The row of the example.
fn cron_tabs() -> Resource {
    let (_, mut crd) = created(CRON_TABS);
    assert!(custom::rows(&crd).is_empty(), "it is not established yet");
    crd.set_at(&["status"], custom::status(&crd, &[], "2026-01-01T00:00:00Z".parse().unwrap()));
    custom::rows(&crd).pop().expect("one version is served")
}

#[test]
fn a_definition_makes_a_row() {
    let row = cron_tabs();
    assert_eq!(
        (row.kind.as_str(), row.list_kind.as_str(), row.singular.as_str()),
        ("CronTab", "CronTabList", "crontab")
    );
    assert_eq!(row.key("default", "a"), "/registry/stable.example.com/crontabs/default/a");
    assert_eq!((row.short_names[0].as_ref(), row.categories[0].as_ref()), ("ct", "all"));
    assert_eq!(row.subresources, [Subresource::Status, Subresource::Scale]);
    assert_eq!(row.type_name, "com.example.stable.v1.CronTab");
    let ty = row.schema.clone().expect("it has a type of its own");
    assert_eq!(ty.name, "com.example.stable.v1.CronTab");
    let body = parse(
        r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z"},
            "spec":{"cronSpec":"* * * * */5","extra":1,"ports":[{"port":80}]},"status":{"replicas":3,"labelSelector":"a=b"}}"#,
    );
    let decoded = decode_tree(body, Vec::new(), &ty, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, ["unknown field \"spec.extra\""]);
    let mut object = decoded.tree;
    row.default(&mut object);
    let wanted = r#"{"cronSpec":"* * * * */5","image":"busybox","ports":[{"port":80,"protocol":"TCP"}],"replicas":1}"#;
    assert_eq!(object.get("spec"), Some(&parse(wanted)));
    assert_eq!(row.strategy.validate(&object), []);
    assert_eq!(row.selectable_fields[0].value.of(&object), "busybox");
    assert_eq!(row.strategy.scale_selector(&object), "a=b");
    let now: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
    let cells: Vec<String> = row.all_columns().iter().map(|c| c.cell.of(&object, now).to_string()).collect();
    assert_eq!(cells, ["\"a\"", "\"* * * * */5\"", "1", "\"5m\""]);
    row.strategy.prepare_for_create(&mut object);
    assert_eq!(object.get("status"), None);
}

#[test]
fn custom_objects_are_judged_by_their_schema() {
    let row = cron_tabs();
    let good = parse(
        r#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a"},"spec":{"cronSpec":"* * * * 1","replicas":2}}"#,
    );
    let mut bad = good.clone();
    bad.set_at(&["spec"], parse(r#"{"cronSpec":"x","replicas":-1,"template":{},"ports":[{"port":1},{"port":1}]}"#));
    bad.set_at(&["status", "replicas"], "many");
    let shown = |errors: Vec<machinery::field::FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = [
        "spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'",
        "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 1",
        "status.replicas: Invalid value: \"string\": status.replicas in body must be of type integer: \"string\"",
        ".spec.replicas: Invalid value: -1: should be a non-negative integer",
        ".status.replicas: Invalid value: 0: .status.replicas accessor error: many is of the type string, expected int64",
        "spec.template.apiVersion: Required value: must not be empty",
        "spec.template.kind: Required value: must not be empty",
        "spec.ports[1]: Duplicate value: {\"port\":1}",
    ];
    assert_eq!(shown(row.strategy.validate(&bad)), wanted);
    assert_eq!(shown(row.strategy.validate_update(&bad, &good, Target::Object)).len(), wanted.len());
    let found = shown(row.strategy.validate_update(&bad, &good, Target::Subresource("status")));
    let wanted = [
        "status.replicas: Invalid value: \"string\": replicas in body must be of type integer: \"string\"",
        ".status.replicas: Invalid value: 0: .status.replicas accessor error: many is of the type string, expected int64",
        "spec.ports[1]: Duplicate value: {\"port\":1}",
    ];
    assert_eq!(found, wanted);
    let mut labelled = good.clone();
    labelled.set_at(&["metadata", "labels", "a"], "b");
    assert!(!row.strategy.wants_new_generation(&labelled, &good));
    labelled.set_at(&["status", "replicas"], 1);
    assert!(!row.strategy.wants_new_generation(&labelled, &good));
    labelled.set_at(&["spec", "replicas"], 3);
    assert!(row.strategy.wants_new_generation(&labelled, &good));
}

#[test]
fn versions_are_converted_by_name_and_pruned() {
    let text = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},
        "spec":{"group":"example.com","scope":"Cluster","names":{"plural":"foos","kind":"Foo"},"versions":[
        {"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string","default":"B"}}}}},
        {"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{"b":{"type":"string"}}}}}]}}"#;
    let (row, mut crd) = created(text);
    assert_eq!(problems(&row, &crd), Vec::<String>::new());
    crd.set_at(&["status"], custom::status(&crd, &[], "2026-01-01T00:00:00Z".parse().unwrap()));
    let rows = custom::rows(&crd);
    let mut object = parse(r#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"x"},"a":"1"}"#);
    rows[1].strategy.from_storage(&mut object);
    assert_eq!(object, parse(r#"{"apiVersion":"example.com/v2","kind":"Foo","metadata":{"name":"x"},"b":"B"}"#));
    rows[1].strategy.to_storage(&mut object);
    assert_eq!(object.str_at(&["apiVersion"]), Some("example.com/v1"));
    assert_eq!(rows[0].storage, rows[1].storage);
}

#[test]
fn unknown_formats_are_warned_of() {
    let (row, object) = created(&with_version(
        r#""schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string","format":"made-up"},"b":{"type":"integer","format":"int32"}}}}"#,
    ));
    let wanted = ["spec.versions[0].schema.openAPIV3Schema.properties[a].format: unrecognized format \"made-up\""];
    assert_eq!(row.strategy.warnings(&object), wanted);
    assert_eq!(problems(&row, &object), Vec::<String>::new());
}

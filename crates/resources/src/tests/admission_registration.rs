//! Webhooks and policies.

use super::{Changed, Invalid};

pub(super) const VALID: &[&str] = &[
    WEBHOOK,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","webhooks":[{"name":"a.example.com",
        "clientConfig":{"url":"https://example.com/x"},"sideEffects":"NoneOnDryRun","admissionReviewVersions":["v1","v2"],
        "matchConditions":[{"name":"a","expression":"true"}]}]}"#,
    POLICY,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding","spec":{"policyName":"p",
        "validationActions":["Deny","Audit"],"paramRef":{"name":"x","parameterNotFoundAction":"Deny"},"matchResources":{}}}"#,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicy","spec":{"reinvocationPolicy":"Never",
        "matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]},
        "mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'test', path: '/a', value: 1}]"}}]}}"#,
    MUTATING,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicyBinding","spec":{"policyName":"p"}}"#,
    r#"{"apiVersion":"admissionregistration.k8s.io/v1beta1","kind":"MutatingAdmissionPolicyBinding","spec":{"policyName":"p",
        "paramRef":{"selector":{"matchLabels":{"a":"b"}},"parameterNotFoundAction":"Allow"}}}"#,
];

const WEBHOOK: &str = r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","webhooks":[{"name":"a.example.com",
    "clientConfig":{"service":{"namespace":"n","name":"s","path":"/mutate"}},"sideEffects":"None","admissionReviewVersions":["v1"],
    "rules":[{"operations":["CREATE","UPDATE"],"apiGroups":["*"],"apiVersions":["*"],"resources":["pods","pods/*"]}]}]}"#;

const POLICY: &str = r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","spec":{"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},
    "matchConstraints":{"resourceRules":[{"operations":["*"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments"],"resourceNames":["a"]}]},
    "variables":[{"name":"x","expression":"1"}],"validations":[{"expression":"true","reason":"Invalid","message":"no"}],
    "auditAnnotations":[{"key":"a","valueExpression":"'b'"}]}}"#;

const MUTATING: &str = r#"{"apiVersion":"admissionregistration.k8s.io/v1beta1","kind":"MutatingAdmissionPolicy","spec":{"reinvocationPolicy":"IfNeeded",
    "matchConstraints":{"resourceRules":[{"operations":["UPDATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]},
    "mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{}"}}]}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","webhooks":[{"name":"a.b","clientConfig":{},
            "failurePolicy":"x","timeoutSeconds":31,"rules":[{"operations":["*","CREATE","GET"],"apiVersions":[""],
            "resources":["a/*","a/b","*/*","*","c"],"scope":"x"}],"matchConditions":[{"name":"a","expression":" "},{"name":"a","expression":"b"}]}]}"#,
        &[
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\",\"GET\"]: if '*' is present, must not specify other operations",
            "webhooks[0].rules[0].operations[2]: Unsupported value: \"GET\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            "webhooks[0].rules[0].apiGroups: Required value",
            "webhooks[0].rules[0].apiVersions[0]: Required value",
            "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
            "webhooks[0].rules[0].resources: Invalid value: [\"a/*\",\"a/b\",\"*/*\",\"*\",\"c\"]: if '*/*' is present, must not specify other resources",
            "webhooks[0].rules[0].resources: Invalid value: [\"a/*\",\"a/b\",\"*/*\",\"*\",\"c\"]: if '*' is present, must not specify other resources without subresources",
            "webhooks[0].rules[0].scope: Unsupported value: \"x\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            "webhooks[0].failurePolicy: Unsupported value: \"x\": supported values: \"Fail\", \"Ignore\"",
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].matchConditions[0].expression: Required value",
            "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
            "webhooks[0].matchConditions[1].expression: Invalid value: \"b\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'b' (in container '')\n | b\n | ^",
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ],
    ),
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","webhooks":[{"name":"a.b.c",
            "clientConfig":{"url":"http://u@h?q"},"sideEffects":"Some","reinvocationPolicy":"x","admissionReviewVersions":["v2","v2"]},
            {"name":"a.b.c","clientConfig":{"service":{"port":0,"path":"x"}},"sideEffects":"None","admissionReviewVersions":["v1"]}]}"#,
        &[
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].reinvocationPolicy: Unsupported value: \"x\": supported values: \"IfNeeded\", \"Never\"",
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
            "webhooks[0].clientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
            "webhooks[1].clientConfig.service.name: Required value: service name is required",
            "webhooks[1].clientConfig.service.namespace: Required value: service namespace is required",
            "webhooks[1].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            "webhooks[1].clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            "webhooks[1].clientConfig.service.path: Invalid value: \"x\": segment[0] may not be empty",
            "webhooks[1].name: Duplicate value: \"a.b.c\"",
        ],
    ),
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","spec":{}}"#,
        &[
            "spec.matchConstraints: Required value",
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ],
    ),
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","spec":{"failurePolicy":"x","paramKind":{"apiVersion":"a/b/c"},
            "matchConstraints":{"matchPolicy":"y"},"variables":[{"name":"in","expression":""}],
            "validations":[{"expression":"","message":"a\nb","messageExpression":" ","reason":"x"}],
            "auditAnnotations":[{"key":"a","valueExpression":""},{"key":"a","valueExpression":"'b'"}]}}"#,
        &[
            "spec.failurePolicy: Unsupported value: \"x\": supported values: \"Fail\", \"Ignore\"",
            "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.paramKind.kind: Required value",
            "spec.matchConstraints.matchPolicy: Unsupported value: \"y\": supported values: \"Equivalent\", \"Exact\"",
            "spec.matchConstraints.resourceRules: Required value",
            "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier",
            "spec.variables[0].expression: Required value: expression is not specified",
            "spec.validations[0].expression: Required value: expression is not specified",
            "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
            "spec.validations[0].reason: Unsupported value: \"x\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
            "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
        ],
    ),
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding","spec":{"paramRef":{"name":"a/b","selector":{}},
            "validationActions":["Deny","Warn","Deny","x"]}}"#,
        &[
            "spec.policyName: Required value",
            "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.validationActions[2]: Duplicate value: \"Deny\"",
            "spec.validationActions[3]: Unsupported value: \"x\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\",\"x\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ],
    ),
    (
        r#"{"apiVersion":"admissionregistration.k8s.io/v1beta1","kind":"MutatingAdmissionPolicy","spec":{"matchConstraints":{"resourceRules":
            [{"operations":["DELETE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]},
            "mutations":[{"patchType":"x"},{"patchType":"JSONPatch","applyConfiguration":{"expression":"a"}}]}}"#,
        &[
            "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            "spec.mutations[0].patchType: Unsupported value: \"x\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
            "spec.mutations[1].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[1].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
            "spec.reinvocationPolicy: Required value",
        ],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", WEBHOOK, &["webhooks"], "[]", &[]),
    ("", POLICY, &["spec", "failurePolicy"], "\"Ignore\"", &[]),
    (
        "status",
        POLICY,
        &["status"],
        r#"{"typeChecking":{"expressionWarnings":[{"fieldRef":"spec","warning":""}]},"conditions":[{"type":"a","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}"#,
        &[
            "status.typeChecking.expressionWarnings[0].warning: Required value",
            "status.conditions[0].reason: Required value",
        ],
    ),
    (
        "",
        MUTATING,
        &["spec", "mutations"],
        "[]",
        &["spec.mutations: Required value: mutations must contain at least one item"],
    ),
];

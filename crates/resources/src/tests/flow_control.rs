//! Flow schemas and priority levels.

use super::{Changed, Invalid};

pub(super) const VALID: &[&str] = &[
    SCHEMA,
    LEVEL,
    r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":"exempt"},"spec":{"type":"Exempt",
        "exempt":{"nominalConcurrencyShares":5}}}"#,
];

const SCHEMA: &str = r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","spec":{"priorityLevelConfiguration":{"name":"system"},
    "distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"g"}},
        {"kind":"ServiceAccount","serviceAccount":{"name":"*","namespace":"n"}}],
        "resourceRules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"namespaces":["n"]}],
        "nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["/a/*","/"]}]}]}}"#;

const LEVEL: &str = r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","spec":{"type":"Limited",
    "limited":{"limitResponse":{"type":"Queue","queuing":{}}}}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","spec":{"matchingPrecedence":1,"distinguisherMethod":{"type":"x"},
            "rules":[{},{"subjects":[{"kind":"Dog"},{"kind":"User","group":{"name":"g"}},{"kind":"ServiceAccount","serviceAccount":{"name":"A_"}}],
            "resourceRules":[{"verbs":["*","get"],"apiGroups":[],"resources":["*","a"]},
                {"verbs":["eat"],"apiGroups":["*"],"resources":["*"],"namespaces":["A.b"]}],
            "nonResourceRules":[{"verbs":[],"nonResourceURLs":["a","/a b","//","/*a","/a*"]}]}]}}"#,
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"x\"}: supported values: \"ByNamespace\", \"ByUser\"",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            "spec.rules[1].subjects[0].kind: Unsupported value: \"Dog\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
            "spec.rules[1].subjects[1].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[1].subjects[1].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            "spec.rules[1].subjects[2].serviceAccount.name: Invalid value: \"A_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.rules[1].subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account",
            "spec.rules[1].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
            "spec.rules[1].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "spec.rules[1].resourceRules[0].resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources",
            "spec.rules[1].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            "spec.rules[1].resourceRules[1].verbs: Unsupported value: [\"eat\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[1].resourceRules[1].namespaces[0]: Invalid value: \"A.b\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.rules[1].nonResourceRules[0].verbs: Required value: verbs must contain at least one value",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a b\": must not contain white-space",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"//\": must not contain double slash",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[3]: Invalid value: \"/*a\": wildcard can only do suffix matching",
            "spec.rules[1].nonResourceRules[0].nonResourceURLs[4]: Invalid value: \"/a*\": wildcard can only do suffix matching",
        ],
    ),
    (
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":"catch-all"},"spec":{"priorityLevelConfiguration":{"name":"x"}}}"#,
        &[
            "spec: Invalid value: {\"matchingPrecedence\":1000,\"priorityLevelConfiguration\":{\"name\":\"x\"}}: spec of 'catch-all' must equal the fixed value",
        ],
    ),
    (
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","spec":{"type":"Exempt","limited":{},
            "exempt":{"lendablePercent":101,"nominalConcurrencyShares":-1}}}"#,
        &[
            "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
            "spec.limited: Forbidden: must be nil if the type is not Limited",
            "spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        ],
    ),
    (
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","spec":{"type":"Limited","exempt":{},
            "limited":{"borrowingLimitPercent":-1,"limitResponse":{"type":"Queue","queuing":{"queues":128,"handSize":9,"queueLengthLimit":-1}}}}}"#,
        &[
            "spec.exempt: Forbidden: must be nil if the type is Limited",
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 128 and handSize 9 should not be greater than 60",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
        ],
    ),
    (
        r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","spec":{"type":"Limited",
            "limited":{"limitResponse":{"type":"Reject","queuing":{}}}}}"#,
        &["spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", LEVEL, &["spec", "limited", "nominalConcurrencyShares"], "0", &[]),
    (
        "status",
        SCHEMA,
        &["status", "conditions"],
        r#"[{"type":"Dangling","status":"False"},{"type":"Dangling"},{}]"#,
        &[
            "status.conditions[1].type: Duplicate value: \"Dangling\"",
            "status.conditions[2].type: Required value: must not be empty",
        ],
    ),
];

//! Ingresses, network policies, addresses.

use super::{Changed, Invalid};

const INGRESS: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"ingressClassName":"nginx","tls":[{"hosts":["a.example.com","*.b.com"],"secretName":"s"}],
    "defaultBackend":{"resource":{"apiGroup":"example.com","kind":"Bucket","name":"x"}},
    "rules":[{"host":"*.example.com","http":{"paths":[{"path":"/a","pathType":"Prefix","backend":{"service":{"name":"web","port":{"name":"http"}}}},
        {"pathType":"ImplementationSpecific","backend":{"service":{"name":"web","port":{"number":80}}}}]}},{"host":"x.org"}]}}"#;
const CLASS: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"IngressClass","spec":{"controller":"example.com/c","parameters":{"kind":"P","name":"p","apiGroup":"example.com"}}}"#;
const POLICY: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","spec":{"podSelector":{"matchLabels":{"a":"b"}},
    "egress":[{"ports":[{"port":80,"endPort":90},{"port":"http"}],"to":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}},
        {"podSelector":{},"namespaceSelector":{}}]}]}}"#;
const ADDRESS: &str = r#"{"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"name":"2001:db8::1"},"spec":{"parentRef":{"resource":"services","namespace":"default","name":"web"}}}"#;
const CIDR: &str = r#"{"apiVersion":"networking.k8s.io/v1beta1","kind":"ServiceCIDR","spec":{"cidrs":["10.0.0.0/16","2001:db8::/64"]}}"#;

pub(super) const VALID: &[&str] = &[
    INGRESS,
    CLASS,
    POLICY,
    ADDRESS,
    CIDR,
    r#"{"apiVersion":"networking.k8s.io/v1beta1","kind":"IPAddress","metadata":{"name":"10.0.0.1"},"spec":{"parentRef":{"resource":"services","name":"web"}}}"#,
    r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy"}"#,
];

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress"}"#,
        &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"annotations":{"kubernetes.io/ingress.class":"a"}},"spec":{"ingressClassName":"b","rules":[{"host":"10.0.0.1"},
            {"host":"a.b","http":{"paths":[{"path":"a//b","pathType":"Exact","backend":{}},{"backend":{}},
                {"path":"/","pathType":"Odd","backend":{"service":{"name":"","port":{"name":"x","number":1}}}}]}},{"http":{}}],"tls":[{"hosts":["*"],"secretName":"A"}]}}"#,
        &[
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            "spec.rules[1].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path",
            "spec.rules[1].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'",
            "spec.rules[1].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
            "spec.rules[1].http.paths[1].pathType: Required value: pathType must be specified",
            "spec.rules[1].http.paths[2].pathType: Unsupported value: \"Odd\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            "spec.rules[1].http.paths[2].backend.service.name: Required value",
            "spec.rules[1].http.paths[2].backend: Invalid value: \"\": cannot set both port name & port number",
            "spec.rules[2].http.paths: Required value",
            "spec.tls[0].hosts[0]: Invalid value: \"*\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.tls[0].secretName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"IngressClass","spec":{"controller":"x","parameters":{"kind":"","name":"a/b","scope":"Namespace"}}}"#,
        &[
            "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.parameters.kind: Required value: kind is required",
            "spec.parameters.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","spec":{"policyTypes":["Both"],"ingress":[{"ports":[{"protocol":"IP","endPort":1},{"port":90,"endPort":80},{"port":"h","endPort":1}],
            "from":[{},{"podSelector":{},"ipBlock":{"cidr":"10.0.0.1/8"}},{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/8","x"]}}]}]}}"#,
        &[
            "spec.ingress[0].ports[0].protocol: Unsupported value: \"IP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            "spec.ingress[0].ports[0].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            "spec.ingress[0].ports[1].endPort: Invalid value: 90: must be greater than or equal to `port`",
            "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
            "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
            "spec.ingress[0].from[2].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[2].ipBlock.except[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Ingress\", \"Egress\"",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"name":"2001:db8:0::1"},"spec":{}}"#,
        &[
            "metadata.name: Invalid value: \"2001:db8:0::1\": must be in canonical form (\"2001:db8::1\")",
            "spec.parentRef: Required value",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"name":"010.0.0.1"},"spec":{"parentRef":{"group":"A"}}}"#,
        &[
            "metadata.name: Invalid value: \"010.0.0.1\": must not have leading 0s",
            "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.parentRef.resource: Required value",
            "spec.parentRef.name: Required value",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR"}"#,
        &["spec.cidrs: Required value: at least one CIDR required"],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","spec":{"cidrs":["10.0.0.0/16","10.1.0.0/16"]}}"#,
        &[
            "spec.cidrs: Invalid value: {\"cidrs\":[\"10.0.0.0/16\",\"10.1.0.0/16\"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ],
    ),
    (
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","spec":{"cidrs":["2001:DB8::/64"]}}"#,
        &["spec.cidrs[0]: Invalid value: \"2001:DB8::/64\": must be in canonical form (\"2001:db8::/64\")"],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", INGRESS, &["spec", "ingressClassName"], "\"other\"", &[]),
    (
        "status",
        INGRESS,
        &["status", "loadBalancer"],
        r#"{"ingress":[{"ip":"10.0.0.256"},{"hostname":"10.0.0.1"}]}"#,
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"10.0.0.256\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
        ],
    ),
    (
        "",
        CLASS,
        &["spec", "controller"],
        "\"example.com/d\"",
        &["spec.controller: Invalid value: \"example.com/d\": field is immutable"],
    ),
    ("", POLICY, &["spec", "policyTypes"], r#"["Egress"]"#, &[]),
    (
        "",
        ADDRESS,
        &["spec", "parentRef", "name"],
        "\"x\"",
        &[
            "spec.parentRef: Invalid value: {\"name\":\"x\",\"namespace\":\"default\",\"resource\":\"services\"}: field is immutable",
        ],
    ),
    (
        "",
        CIDR,
        &["spec", "cidrs"],
        r#"["10.0.0.0/16"]"#,
        &["spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"],
    ),
];

#[test]
fn tables_of_ingresses_show_some_hosts() {
    let rules = |hosts: &[&str]| {
        let rules: Vec<String> = hosts.iter().map(|host| format!(r#"{{"host":"{host}"}}"#)).collect();
        super::parse(&format!(r#"{{"spec":{{"rules":[{}]}}}}"#, rules.join(",")))
    };
    let row = super::row("networking.k8s.io/v1", "Ingress");
    for (hosts, wanted) in [
        (&[] as &[&str], "*"),
        (&[""], "*"),
        (&["a", "", "b"], "a,b"),
        (&["a", "b", "c"], "a,b,c"),
        (&["a", "b", "c", "", "d"], "a,b,c + 2 more..."),
    ] {
        let cell = row.all_columns()[2].cell.of(&rules(hosts), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(cell.as_str(), Some(wanted));
    }
}

#[test]
fn older_versions_are_stored_as_the_newest() {
    let (row, mut cidr) = super::created(CIDR);
    row.strategy.to_storage(&mut cidr);
    assert_eq!(cidr.str_at(&["apiVersion"]), Some("networking.k8s.io/v1"));
    row.strategy.from_storage(&mut cidr);
    assert_eq!(cidr.str_at(&["apiVersion"]), Some("networking.k8s.io/v1beta1"));
}

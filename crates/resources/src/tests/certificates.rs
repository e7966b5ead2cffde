//! Requests for certificates, bundles of authorities.

use super::{Changed, Invalid, created, parse};
use crate::Target;

const SIGNING: &str = r#"{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"Any:Name"},"spec":{"signerName":"example.com/signer",
    "usages":["client auth","digital signature"],"expirationSeconds":600,"request":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIZU1JR0ZBZ0VBTUNNeERqQU1CZ05WQkFvTUJXZHliM1Z3TVJFd0R3WURWUVFEREFoemIyMWxZbTlrZVRCWgpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQUJCREtIVHJzTzhTRDdNZ1ZzeFZ0OTZneFBYL3p0TlEzClRYaFROK1RaVWJYZHRPeit4WUtDbVBDdXBzN3M2UlExM2xYTEhFMGFiWUxtM0dlOVZVTkF2K2lnQURBS0JnZ3EKaGtqT1BRUURBZ05JQURCRkFpRUFydXo2VHlPYTRhYlNweDhCVmdzcUtpYm0zYzZoVjNrVnNkR3NoWWo4WWxVQwpJR2t4TnFWeDNSYmplemNWbDVhbUtqWE9VRGljVVBnQmN1M1AzVklWRUhjUwotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"}}"#;
const BUNDLE: &str = r#"{"apiVersion":"certificates.k8s.io/v1alpha1","kind":"ClusterTrustBundle","metadata":{"name":"example.com:signer:one"},"spec":{"signerName":"example.com/signer",
    "trustBundle":"text\n-----BEGIN CERTIFICATE-----\nMIIBcDCCARegAwIBAgIURb3ey1n5NDK0XldBWh1a+vhLMb0wCgYIKoZIzj0EAwIw\nDTELMAkGA1UEAwwCY2EwIBcNMjYxMTIxMDgwNzI0WhgPMjEyNjEwMjgwODA3MjRa\nMA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEModOuw7\nxIPsyBWzFW33qDE9f/O01DdNeFM35NlRtd207P7FgoKY8K6mzuzpFDXeVcscTRpt\ngubcZ71VQ0C/6KNTMFEwHQYDVR0OBBYEFAQG3Mbw5PwRD16eJQRLcqkyiQjpMB8G\nA1UdIwQYMBaAFAQG3Mbw5PwRD16eJQRLcqkyiQjpMA8GA1UdEwEB/wQFMAMBAf8w\nCgYIKoZIzj0EAwIDRwAwRAIgfZsEugukHcO0FmTQeE8HosB4rmSQ+Hn+luc7sm5v\niz8CIADAfMfkzQmk3lPLYJAtpa0TLoTkG9xYNhLYUdr96h77\n-----END CERTIFICATE-----\n"}}"#;
const OF_POD: &str = r#"{"apiVersion":"certificates.k8s.io/v1beta1","kind":"PodCertificateRequest","spec":{"signerName":"example.com/signer","podName":"p","podUID":"1",
    "serviceAccountName":"default","serviceAccountUID":"2","nodeName":"n","nodeUID":"3","unverifiedUserAnnotations":{"a.b/c":"d"},"stubPKCS10Request":"MIHeMIGFAgEAMCMxDjAMBgNVBAoMBWdyb3VwMREwDwYDVQQDDAhzb21lYm9keTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBDKHTrsO8SD7MgVsxVt96gxPX/ztNQ3TXhTN+TZUbXdtOz+xYKCmPCups7s6RQ13lXLHE0abYLm3Ge9VUNAv+igADAKBggqhkjOPQQDAgNIADBFAiEAruz6TyOa4abSpx8BVgsqKibm3c6hV3kVsdGshYj8YlUCIGkxNqVx3RbjezcVl5amKjXOUDicUPgBcu3P3VIVEHcS"}}"#;
/// Issued to the key of the request, for a day.
const CHAIN: &str = r#"-----BEGIN CERTIFICATE-----\nMIIBcjCCARmgAwIBAgIUOeVbby8Bu1ZDxrRboPgwzDWODOAwCgYIKoZIzj0EAwIw\nDzENMAsGA1UEAwwEbGVhZjAeFw0yNjExMjEwODA5MDVaFw0yNjExMjIwODA5MDVa\nMA8xDTALBgNVBAMMBGxlYWYwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQQyh06\n7DvEg+zIFbMVbfeoMT1/87TUN014Uzfk2VG13bTs/sWCgpjwrqbO7OkUNd5VyxxN\nGm2C5txnvVVDQL/oo1MwUTAdBgNVHQ4EFgQUBAbcxvDk/BEPXp4lBEtyqTKJCOkw\nHwYDVR0jBBgwFoAUBAbcxvDk/BEPXp4lBEtyqTKJCOkwDwYDVR0TAQH/BAUwAwEB\n/zAKBggqhkjOPQQDAgNHADBEAiBZrBBlddWmnjakcvb+MKiswHkMJ7HuzPQ0sToW\nvaUn8QIgPjQzGI0asRYJmDpe9tOuWNRqBh71f0fSnXy8yufCHRk=\n-----END CERTIFICATE-----\n"#;
const NOT_BEFORE: &str = "2026-11-21T08:09:05Z";

pub(super) const VALID: &[&str] = &[SIGNING, BUNDLE, OF_POD];

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","spec":{"signerName":"signer","usages":["x","x"],"expirationSeconds":5,"request":"YWJj"}}"#,
        &[
            "spec.request: Invalid value: \"YWJj\": PEM block type must be CERTIFICATE REQUEST",
            "spec.usages[0]: Unsupported value: \"x\": supported values: \"any\", \"cert sign\", \"client auth\", \"code signing\", \"content commitment\", \"crl sign\", \"data encipherment\", \"decipher only\", \"digital signature\", \"email protection\", \"encipher only\", \"ipsec end system\", \"ipsec tunnel\", \"ipsec user\", \"key agreement\", \"key encipherment\", \"microsoft sgc\", \"netscape sgc\", \"ocsp signing\", \"s/mime\", \"server auth\", \"signing\", \"timestamping\"",
            "spec.usages[1]: Unsupported value: \"x\": supported values: \"any\", \"cert sign\", \"client auth\", \"code signing\", \"content commitment\", \"crl sign\", \"data encipherment\", \"decipher only\", \"digital signature\", \"email protection\", \"encipher only\", \"ipsec end system\", \"ipsec tunnel\", \"ipsec user\", \"key agreement\", \"key encipherment\", \"microsoft sgc\", \"netscape sgc\", \"ocsp signing\", \"s/mime\", \"server auth\", \"signing\", \"timestamping\"",
            "spec.usages[1]: Duplicate value: \"x\"",
            "spec.signerName: Invalid value: \"signer\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
            "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
        ],
    ),
    (
        r#"{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","metadata":{"name":"other"},"spec":{"signerName":"example/Signer","trustBundle":"-----BEGIN CERTIFICATE-----\nMIIBcDCCARegAwIBAgIURb3ey1n5NDK0XldBWh1a+vhLMb0wCgYIKoZIzj0EAwIw\nDTELMAkGA1UEAwwCY2EwIBcNMjYxMTIxMDgwNzI0WhgPMjEyNjEwMjgwODA3MjRa\nMA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEModOuw7\nxIPsyBWzFW33qDE9f/O01DdNeFM35NlRtd207P7FgoKY8K6mzuzpFDXeVcscTRpt\ngubcZ71VQ0C/6KNTMFEwHQYDVR0OBBYEFAQG3Mbw5PwRD16eJQRLcqkyiQjpMB8G\nA1UdIwQYMBaAFAQG3Mbw5PwRD16eJQRLcqkyiQjpMA8GA1UdEwEB/wQFMAMBAf8w\nCgYIKoZIzj0EAwIDRwAwRAIgfZsEugukHcO0FmTQeE8HosB4rmSQ+Hn+luc7sm5v\niz8CIADAfMfkzQmk3lPLYJAtpa0TLoTkG9xYNhLYUdr96h77\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMIIBczCCARigAwIBAgIUU2remn8Qvfn78KWWv1c5aZDlVWIwCgYIKoZIzj0EAwIw\nDzENMAsGA1UEAwwEbGVhZjAgFw0yNjExMjEwODA3MjRaGA8yMTI2MTAyODA4MDcy\nNFowDzENMAsGA1UEAwwEbGVhZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBDK\nHTrsO8SD7MgVsxVt96gxPX/ztNQ3TXhTN+TZUbXdtOz+xYKCmPCups7s6RQ13lXL\nHE0abYLm3Ge9VUNAv+ijUDBOMB0GA1UdDgQWBBQEBtzG8OT8EQ9eniUES3KpMokI\n6TAfBgNVHSMEGDAWgBQEBtzG8OT8EQ9eniUES3KpMokI6TAMBgNVHRMBAf8EAjAA\nMAoGCCqGSM49BAMCA0kAMEYCIQCgaRDml9jZKWkDeCQ2j6LCw0bSZ4kFNnp/qZCJ\nK4QfzgIhAPX+7UZetW1Pzt3LszfS1PVYaMNzLDaHnTFMX9LeUCTO\n-----END CERTIFICATE-----\n"}}"#,
        &[
            "metadata.name: Invalid value: \"other\": ClusterTrustBundle for signerName example/Signer must be named with prefix example:Signer:",
            "spec.signerName: Invalid value: \"example\": should be a domain with at least two segments separated by dots",
            "spec.signerName: Invalid value: \"Signer\": validating label \"Signer\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.trustBundle: Invalid value: \"<value omitted>\": entry 1 does not have the CA bit set",
        ],
    ),
    (
        r#"{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","metadata":{"name":"a:b"},"spec":{"trustBundle":"-----BEGIN CERTIFICATE-----\nMIIBcDCCARegAwIBAgIURb3ey1n5NDK0XldBWh1a+vhLMb0wCgYIKoZIzj0EAwIw\nDTELMAkGA1UEAwwCY2EwIBcNMjYxMTIxMDgwNzI0WhgPMjEyNjEwMjgwODA3MjRa\nMA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEModOuw7\nxIPsyBWzFW33qDE9f/O01DdNeFM35NlRtd207P7FgoKY8K6mzuzpFDXeVcscTRpt\ngubcZ71VQ0C/6KNTMFEwHQYDVR0OBBYEFAQG3Mbw5PwRD16eJQRLcqkyiQjpMB8G\nA1UdIwQYMBaAFAQG3Mbw5PwRD16eJQRLcqkyiQjpMA8GA1UdEwEB/wQFMAMBAf8w\nCgYIKoZIzj0EAwIDRwAwRAIgfZsEugukHcO0FmTQeE8HosB4rmSQ+Hn+luc7sm5v\niz8CIADAfMfkzQmk3lPLYJAtpa0TLoTkG9xYNhLYUdr96h77\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMIIBcDCCARegAwIBAgIURb3ey1n5NDK0XldBWh1a+vhLMb0wCgYIKoZIzj0EAwIw\nDTELMAkGA1UEAwwCY2EwIBcNMjYxMTIxMDgwNzI0WhgPMjEyNjEwMjgwODA3MjRa\nMA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEModOuw7\nxIPsyBWzFW33qDE9f/O01DdNeFM35NlRtd207P7FgoKY8K6mzuzpFDXeVcscTRpt\ngubcZ71VQ0C/6KNTMFEwHQYDVR0OBBYEFAQG3Mbw5PwRD16eJQRLcqkyiQjpMB8G\nA1UdIwQYMBaAFAQG3Mbw5PwRD16eJQRLcqkyiQjpMA8GA1UdEwEB/wQFMAMBAf8w\nCgYIKoZIzj0EAwIDRwAwRAIgfZsEugukHcO0FmTQeE8HosB4rmSQ+Hn+luc7sm5v\niz8CIADAfMfkzQmk3lPLYJAtpa0TLoTkG9xYNhLYUdr96h77\n-----END CERTIFICATE-----\n"}}"#,
        &[
            "metadata.name: Invalid value: \"a:b\": ClusterTrustBundle without signer name must not have \":\" in its name",
            "spec.trustBundle: Invalid value: \"<value omitted>\": duplicate trust anchor (indices [0 1])",
        ],
    ),
    (
        r#"{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","spec":{"trustBundle":""}}"#,
        &["spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided"],
    ),
    (
        r#"{"apiVersion":"certificates.k8s.io/v1beta1","kind":"PodCertificateRequest","spec":{"signerName":"kubernetes.io/x","podName":"p","serviceAccountName":"default","serviceAccountUID":"2","nodeName":"n","nodeUID":"3",
            "maxExpirationSeconds":90000,"stubPKCS10Request":"YWJj","unverifiedUserAnnotations":{"plain":"x"}}}"#,
        &[
            "spec.unverifiedUserAnnotations: Invalid value: \"plain\": must be a domain-prefixed key (such as \"acme.io/foo\")",
            "spec.podUID: Invalid value: \"\": must not be empty",
            "spec.maxExpirationSeconds: Invalid value: 90000: must be in the range [3600, 86400]",
            "spec.stubPKCS10Request: Invalid value: \"YWJj\": must be a valid PKCS#10 certificate signing request",
        ],
    ),
];

const APPROVED: &str = r#"[{"type":"Approved","status":"True","lastUpdateTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}]"#;

pub(super) const CHANGES: &[Changed] = &[
    ("", SIGNING, &["spec", "signerName"], "\"example.com/other\"", &[]),
    ("approval", SIGNING, &["status", "conditions"], APPROVED, &[]),
    (
        "approval",
        SIGNING,
        &["status", "conditions"],
        r#"[{"type":"Approved","status":"False"},{"type":"Denied","status":"True"}]"#,
        &[
            "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
        ],
    ),
    (
        "status",
        SIGNING,
        &["status", "conditions"],
        APPROVED,
        &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
    ),
    (
        "status",
        SIGNING,
        &["status", "certificate"],
        "\"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJjRENDQVJlZ0F3SUJBZ0lVUmIzZXkxbjVOREswWGxkQldoMWErdmhMTWIwd0NnWUlLb1pJemowRUF3SXcKRFRFTE1Ba0dBMVVFQXd3Q1kyRXdJQmNOTWpZeE1USXhNRGd3TnpJMFdoZ1BNakV5TmpFd01qZ3dPREEzTWpSYQpNQTB4Q3pBSkJnTlZCQU1NQW1OaE1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRUVNb2RPdXc3CnhJUHN5Qld6RlczM3FERTlmL08wMURkTmVGTTM1TmxSdGQyMDdQN0Znb0tZOEs2bXp1enBGRFhlVmNzY1RScHQKZ3ViY1o3MVZRMEMvNktOVE1GRXdIUVlEVlIwT0JCWUVGQVFHM01idzVQd1JEMTZlSlFSTGNxa3lpUWpwTUI4RwpBMVVkSXdRWU1CYUFGQVFHM01idzVQd1JEMTZlSlFSTGNxa3lpUWpwTUE4R0ExVWRFd0VCL3dRRk1BTUJBZjh3CkNnWUlLb1pJemowRUF3SURSd0F3UkFJZ2Zac0V1Z3VrSGNPMEZtVFFlRThIb3NCNHJtU1ErSG4rbHVjN3NtNXYKaXo4Q0lBREFmTWZrelFtazNsUExZSkF0cGEwVExvVGtHOXhZTmhMWVVkcjk2aDc3Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K\"",
        &[],
    ),
    (
        "status",
        SIGNING,
        &["status", "certificate"],
        "\"YWJj\"",
        &["status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"],
    ),
    ("", BUNDLE, &["metadata", "labels"], r#"{"a":"b"}"#, &[]),
    (
        "",
        OF_POD,
        &["spec"],
        "{}",
        &[
            "spec: Invalid value: {\"maxExpirationSeconds\":86400,\"nodeName\":\"\",\"nodeUID\":\"\",\"pkixPublicKey\":null,\"podName\":\"\",\"podUID\":\"\",\"proofOfPossession\":null,\"serviceAccountName\":\"\",\"serviceAccountUID\":\"\",\"signerName\":\"\",\"stubPKCS10Request\":null}: field is immutable",
        ],
    ),
    (
        "status",
        OF_POD,
        &["status", "notAfter"],
        "\"2026-01-01T00:00:00Z\"",
        &["status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\""],
    ),
    (
        "status",
        OF_POD,
        &["status", "conditions"],
        r#"[{"type":"Lost","status":"True","reason":"r","lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"Denied","status":"False"}]"#,
        &[
            "status.conditions.[0].type: Unsupported value: \"Lost\": supported values: \"Issued\", \"Denied\", \"Failed\"",
            "status.conditions.[1].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions[1].lastTransitionTime: Required value",
            "status.conditions[1].reason: Required value",
        ],
    ),
];

#[test]
fn only_decisions_change_a_request() {
    let (row, old) = created(SIGNING);
    let mut new = old.clone();
    new.set_at(&["spec", "username"], "me");
    new.set_at(&["status", "conditions"], parse(r#"[{"type":"Approved","status":"True"}]"#));
    new.set_at(&["status", "certificate"], "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJjRENDQVJlZ0F3SUJBZ0lVUmIzZXkxbjVOREswWGxkQldoMWErdmhMTWIwd0NnWUlLb1pJemowRUF3SXcKRFRFTE1Ba0dBMVVFQXd3Q1kyRXdJQmNOTWpZeE1USXhNRGd3TnpJMFdoZ1BNakV5TmpFd01qZ3dPREEzTWpSYQpNQTB4Q3pBSkJnTlZCQU1NQW1OaE1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRUVNb2RPdXc3CnhJUHN5Qld6RlczM3FERTlmL08wMURkTmVGTTM1TmxSdGQyMDdQN0Znb0tZOEs2bXp1enBGRFhlVmNzY1RScHQKZ3ViY1o3MVZRMEMvNktOVE1GRXdIUVlEVlIwT0JCWUVGQVFHM01idzVQd1JEMTZlSlFSTGNxa3lpUWpwTUI4RwpBMVVkSXdRWU1CYUFGQVFHM01idzVQd1JEMTZlSlFSTGNxa3lpUWpwTUE4R0ExVWRFd0VCL3dRRk1BTUJBZjh3CkNnWUlLb1pJemowRUF3SURSd0F3UkFJZ2Zac0V1Z3VrSGNPMEZtVFFlRThIb3NCNHJtU1ErSG4rbHVjN3NtNXYKaXo4Q0lBREFmTWZrelFtazNsUExZSkF0cGEwVExvVGtHOXhZTmhMWVVkcjk2aDc3Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K");
    let mut plain = new.clone();
    row.strategy.prepare_for_update(&mut plain, &old, Target::Object);
    assert_eq!(plain, old);
    let mut approval = new.clone();
    row.strategy.prepare_for_update(&mut approval, &old, Target::Subresource("approval"));
    assert_eq!((approval.get("spec"), approval.str_at(&["status", "certificate"])), (old.get("spec"), None));
    let conditions = approval.at(&["status", "conditions"]).unwrap().as_array().unwrap();
    assert!(
        conditions[0].str_at(&["lastTransitionTime"]).is_some() && conditions[0].str_at(&["lastUpdateTime"]).is_some()
    );
    assert_eq!(row.all_columns()[5].cell.of(&approval, jiff::Timestamp::UNIX_EPOCH).as_str(), Some("Approved"));
    let groups = crate::certificates::requested_groups(old.str_at(&["spec", "request"]).unwrap());
    assert_eq!(groups, ["group"]);
}

#[test]
fn a_tampered_request_is_refused() {
    let (row, mut object) = created(OF_POD);
    let request = object.str_at(&["spec", "stubPKCS10Request"]).unwrap().replacen("IGkxNqVx", "IGkxNqVy", 1);
    object.set_at(&["spec", "stubPKCS10Request"], request);
    let wanted = "spec.stubPKCS10Request: Invalid value: could not verify the signature of the request";
    assert_eq!(super::problems(&row, &object), [wanted]);
}

#[test]
fn what_is_issued_to_a_pod_is_what_it_asked_for() {
    seams::clock::simulate(NOT_BEFORE.parse().unwrap());
    let (row, old) = created(OF_POD);
    let chain = CHAIN.replace("\\n", "\n");
    let status = |refresh: &str| {
        let mut status = parse(
            r#"{"conditions":[{"type":"Issued","status":"True","reason":"r","lastTransitionTime":"2026-01-01T00:00:00Z"}],
                "notBefore":"2026-11-21T08:09:05Z","notAfter":"2026-11-22T08:09:05Z"}"#,
        );
        status.set_at(&["certificateChain"], chain.as_str());
        status.set_at(&["beginRefreshAt"], refresh);
        let mut new = old.clone();
        new.set_at(&["status"], status);
        let errors = row.strategy.validate_update(&new, &old, Target::Subresource("status"));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(status("2026-11-21T20:09:05Z"), Vec::<String>::new());
    let wanted = "status.beginRefreshAt: Invalid value: \"2026-11-22T08:09:05Z\": must be at least 10 minutes before status.notAfter";
    assert_eq!(status("2026-11-22T08:09:05Z"), [wanted]);
}

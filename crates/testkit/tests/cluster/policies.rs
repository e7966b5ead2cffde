//! Admission policies as users of kubectl have them.

use testkit::Cluster;

const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: replicas
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables:
  - {name: most, expression: "int(params.data.most)"}
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: "'at most ' + string(variables.most) + ' replicas, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: replicas-here
spec:
  policyName: replicas
  validationActions: [Deny]
  paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {most: "2"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: owner
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{metadata: Object.metadata{labels: {'made-by': request.userInfo.username.replace(':', '.')}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: owner
spec:
  policyName: owner
"#;

/// A policy that cannot be compiled, and one whose types are wrong.
const BROKEN: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: broken
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: ["*"], resources: [deployments]}
  validations:
  - expression: EXPRESSION
"#;

#[test]
fn policies_judge_and_change_what_kubectl_makes() {
    let c = Cluster::with(&["--disable", "node"]);
    c.apply(POLICY);
    let image = "--image=localhost/skiff/hello:v1";
    c.kubectl(&["create", "deployment", "two", image, "--replicas=2"]);
    let label = c.kubectl(&["get", "deployment", "two", "-o", "jsonpath={.metadata.labels.made-by}"]);
    assert!(!label.trim().is_empty(), "the object was not changed");
    let refused = c.try_kubectl(&["create", "deployment", "three", image, "--replicas=3"]).unwrap_err();
    let wanted =
        "ValidatingAdmissionPolicy 'replicas' with binding 'replicas-here' denied request: at most 2 replicas, not 3";
    assert!(refused.contains(wanted), "{refused}");
    let refused = c.try_kubectl(&["scale", "deployment", "two", "--replicas=5"]);
    assert!(refused.is_ok(), "a scale is no deployment: {refused:?}");
    let refused = c.try_apply(&BROKEN.replace("EXPRESSION", "\"object.spec.replicas >\"")).unwrap_err();
    assert!(refused.contains("compilation failed: ERROR: <input>:1:23: Syntax error: "), "{refused}");
    c.apply(&BROKEN.replace("EXPRESSION", "\"object.spec.replicas > '1'\""));
    let warning = c.wait("the types to be checked", || {
        let path = "jsonpath={.status.typeChecking.expressionWarnings[0].warning}";
        let warning = c.try_kubectl(&["get", "validatingadmissionpolicy", "broken", "-o", path]).ok()?;
        (!warning.is_empty()).then_some(warning)
    });
    assert!(warning.contains("found no matching overload for '_>_' applied to '(int, string)'"), "{warning}");
}

//! Groups of the Kubernetes community are protected: an annotation says who approved of an API in them.

use machinery::json::Value;
use machinery::object::ObjectExt;

use super::status::Condition;

/// The annotation that approves: a link to the review, or `unapproved` with whatever follows.
pub(crate) const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
pub(crate) enum Approval {
    /// There is none.
    Missing,
    /// It is neither a link nor a refusal.
    Invalid,
    /// Somebody did without.
    Bypassed,
    /// It is a link.
    Approved,
}

/// Whether a group is the community's.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Reads a definition's annotation, with what is said of it.
pub(crate) fn read(crd: &Value) -> (Approval, String) {
    let text = crd.annotation(ANNOTATION).unwrap_or_default();
    if text.is_empty() {
        let message = "protected groups must have approval annotation \"api-approved.kubernetes.io\", \
            see https://github.com/kubernetes/enhancements/pull/1111";
        return (Approval::Missing, message.to_owned());
    }
    if text.starts_with("unapproved") {
        return (Approval::Bypassed, format!("not approved: {text:?}"));
    }
    if is_absolute_url(text) {
        return (Approval::Approved, format!("approved in {text}"));
    }
    let message = format!(
        "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or a reason starting with \
         \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
    );
    (Approval::Invalid, message)
}

fn is_absolute_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme && !host.is_empty() && !text.contains(|c: char| c.is_ascii_control() || c == ' ')
}

/// The condition of a definition in a protected group.
pub(super) fn approval(crd: &Value) -> Option<Condition> {
    if !is_protected(crd.str_at(&["spec", "group"]).unwrap_or_default()) {
        return None;
    }
    let (approval, message) = read(crd);
    let (status, reason) = match approval {
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
    };
    Some(Condition { kind: "KubernetesAPIApprovalPolicyConformant", status, reason, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_are_told_in_upstreams_words() {
        let cases = [
            ("example.com", "", None),
            ("mk8s.io", "", None),
            ("k8s.io", "", Some("MissingAnnotation")),
            ("a.k8s.io", "bad", Some("InvalidAnnotation")),
            ("a.kubernetes.io", "unapproved, testing", Some("UnapprovedAnnotation")),
            ("a.k8s.io", "https://github.com/kubernetes/enhancements/pull/1", Some("ApprovedAnnotation")),
        ];
        for (group, annotation, wanted) in cases {
            let mut crd = Value::object();
            crd.set_at(&["spec", "group"], group);
            crd.set_at(&["metadata", "annotations", ANNOTATION], annotation);
            assert_eq!(approval(&crd).map(|c| c.reason), wanted, "{group} {annotation}");
        }
    }
}

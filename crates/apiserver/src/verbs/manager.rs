//! Who owns fields that are written without naming a field manager: the client by its name.

use client::User;

/// Longest name of a field manager, in bytes.
const MANAGER_BYTES_MAX: usize = 128;

/// The name that a user agent begins with, up to the first `/`, without what does not print.
pub(crate) fn of_user_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let prints = |c: &char| *c == ' ' || !(c.is_control() || c.is_whitespace());
    let mut manager = String::with_capacity(name.len().min(MANAGER_BYTES_MAX));
    for c in name.chars().filter(prints) {
        if manager.len() + c.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        manager.push(c);
    }
    manager
}

/// The name by which upstream's component of that user is known.
pub(crate) fn of_component(user: &User) -> &'static str {
    match user.name.as_str() {
        "system:kube-scheduler" => "kube-scheduler",
        "system:kube-proxy" => "kube-proxy",
        "system:apiserver" => "kube-apiserver",
        "system:kube-controller-manager" => "kube-controller-manager",
        name if name.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        name if name.starts_with("system:node:") => "kubelet",
        _ => "skiff",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_named_as_upstream_names_them() {
        let cases = [
            ("kubectl/v1.36.0 (linux/amd64) kubernetes/abc", "kubectl".to_owned()),
            ("", String::new()),
            ("curl", "curl".to_owned()),
            ("a\u{1}b\tc d\u{85}/x", "abc d".to_owned()),
            (&"x".repeat(200), "x".repeat(128)),
            (&format!("{}é", "x".repeat(127)), "x".repeat(127)),
        ];
        for (agent, wanted) in cases {
            assert_eq!(of_user_agent(agent), wanted, "{agent}");
        }
        let controller = User::component("system:serviceaccount:kube-system:job-controller", &[]);
        assert_eq!(of_component(&controller), "kube-controller-manager");
        assert_eq!(of_component(&User::component("system:node:n", &[])), "kubelet");
    }
}

//! What this node cannot honour: refused with a clear reason, never ignored. docs/pod-fields.md lists all of it.

use std::path::Path;

use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};
use runtime::AppArmor;

use super::Refusal;
use crate::config::app_armor;
use crate::wanted::{Member, Wanted};

/// Kernel parameters that belong to the pod's own namespaces and can hurt nobody else (upstream's safe set).
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why this node rejects the pod for good: where upstream does so too.
pub fn rejected(wanted: &Wanted) -> Option<Refusal> {
    let spec = wanted.spec();
    let context = spec.security_context.clone().unwrap_or_default();
    let windows = spec.os.as_ref().is_some_and(|os| os.name != "linux") || context.windows_options.is_some();
    if windows {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Some(("PodOSNotSupported".to_owned(), message.to_owned()));
    }
    sysctls(wanted, &context).or_else(|| app_armor(wanted, runtime::app_armor_is_enabled()))
}

fn unsupported(what: &str) -> Option<String> {
    Some(format!("this node does not support {what}"))
}

/// Why the pod gets no sandbox here. It waits, as with other runtimes that lack a feature: a pod that failed would be
/// replaced by its controller again and again.
pub fn unsupported_pod(wanted: &Wanted) -> Option<String> {
    let spec = wanted.spec();
    let filled = |length: Option<usize>| length.is_some_and(|length| length > 0);
    if filled(spec.resource_claims.as_ref().map(Vec::len)) {
        return unsupported("dynamic resource allocation (spec.resourceClaims)");
    }
    let context = spec.security_context.clone().unwrap_or_default();
    se_linux(wanted, &context)
}

/// `net/ipv4/x` and `net.ipv4.x` name the same: the first separator tells which spelling it is.
fn sysctl_name(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn sysctls(wanted: &Wanted, context: &PodSecurityContext) -> Option<Refusal> {
    let spec = wanted.spec();
    let forbidden =
        |name: &str, why: &str| Some(("SysctlForbidden".to_owned(), format!("forbidden sysctl: {name:?} {why}")));
    for sysctl in context.sysctls.iter().flatten() {
        let name = sysctl_name(&sysctl.name);
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return forbidden(&sysctl.name, "not allowlisted");
        }
        if name.starts_with("net.") && spec.host_network == Some(true) {
            return forbidden(&sysctl.name, "not allowed with host net enabled");
        }
        if name.starts_with("kernel.") && spec.host_ipc == Some(true) {
            return forbidden(&sysctl.name, "not allowed with host ipc enabled");
        }
    }
    None
}

/// The security contexts of all containers.
fn contexts(wanted: &Wanted) -> impl Iterator<Item = &SecurityContext> {
    wanted.members.iter().filter_map(|m| m.spec.security_context.as_ref())
}

/// Profiles on a machine that applies none. The texts are upstream's validator's.
fn app_armor(wanted: &Wanted, enabled: bool) -> Option<Refusal> {
    let asked = wanted.members.iter().filter_map(|member| app_armor::profile(wanted, member));
    let why = asked.into_iter().find_map(|profile| match profile {
        AppArmor::Unconfined => None,
        _ if !enabled => Some("AppArmor is not enabled on the host".to_owned()),
        AppArmor::Localhost(name) if name.trim().is_empty() => {
            Some(format!("invalid empty AppArmor profile name: {:?}", format!("localhost/{name}")))
        }
        _ => None,
    });
    why.map(|why| ("AppArmor".to_owned(), format!("Cannot enforce AppArmor: {why}")))
}

/// Labels mean nothing on a machine without SELinux, as upstream has it; on one with it they are not applied here.
fn se_linux(wanted: &Wanted, context: &PodSecurityContext) -> Option<String> {
    let asked = context.se_linux_options.is_some() || contexts(wanted).any(|own| own.se_linux_options.is_some());
    if asked && Path::new("/sys/fs/selinux/enforce").exists() {
        return unsupported("SELinux labels (securityContext.seLinuxOptions) on a machine that enforces them");
    }
    None
}

/// Why a container is not made here.
pub fn unsupported_container(member: &Member) -> Option<String> {
    let own = member.spec.security_context.clone().unwrap_or_default();
    own.windows_options.is_some().then(|| unsupported("Windows options (securityContext.windowsOptions)")).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;

    #[test]
    fn what_upstream_rejects_is_rejected() {
        let container = |fields: &str| format!(r#""containers":[{{"name":"a",{fields}}}]"#);
        let context = |fields: &str| format!(r#""containers":[],"securityContext":{{{fields}}}"#);
        let cases = [
            (container(r#""image":"x""#), ""),
            (context(r#""sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"1"}]"#), ""),
            (context(r#""sysctls":[{"name":"net/ipv4/tcp_syncookies","value":"1"}]"#), ""),
            (
                context(r#""sysctls":[{"name":"kernel.msgmax","value":"1"}]"#),
                r#"SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted"#,
            ),
            (
                context(r#""sysctls":[{"name":"net.ipv4.tcp_rmem","value":"1"}]},"hostNetwork":true,"x":{"#),
                r#"SysctlForbidden: forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host net enabled"#,
            ),
            (r#""containers":[],"os":{"name":"windows"}"#.to_owned(), "PodOSNotSupported: "),
            (context(r#""windowsOptions":{}"#), "PodOSNotSupported: "),
        ];
        for (spec, wanted) in cases {
            let found = rejected(&pod("p", &format!("{{{spec}}}")));
            let text = found.map(|(reason, message)| format!("{reason}: {message}")).unwrap_or_default();
            assert!(text.starts_with(wanted) && text.is_empty() == wanted.is_empty(), "{spec}: {text}");
        }
    }

    #[test]
    fn profiles_are_rejected_where_nothing_applies_them() {
        let asks = |fields: &str| {
            pod("p", &format!(r#"{{"containers":[{{"name":"a","securityContext":{{"appArmorProfile":{fields}}}}}]}}"#))
        };
        let said =
            |fields: &str, enabled| app_armor(&asks(fields), enabled).map(|(reason, why)| format!("{reason}: {why}"));
        let without = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        assert_eq!(said(r#"{"type":"Unconfined"}"#, false), None);
        assert_eq!(said(r#"{"type":"RuntimeDefault"}"#, false).as_deref(), Some(without));
        assert_eq!(said(r#"{"type":"Localhost","localhostProfile":"x"}"#, false).as_deref(), Some(without));
        assert_eq!(said(r#"{"type":"Localhost","localhostProfile":"x"}"#, true), None);
        let empty = "AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name: \"localhost/\"";
        assert_eq!(said(r#"{"type":"Localhost"}"#, true).as_deref(), Some(empty));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let claims = pod("p", r#"{"containers":[],"resourceClaims":[{"name":"c"}]}"#);
        let text = "this node does not support dynamic resource allocation (spec.resourceClaims)";
        assert_eq!(unsupported_pod(&claims).as_deref(), Some(text));
        assert_eq!(unsupported_pod(&pod("p", r#"{"containers":[]}"#)), None);
        let labels = r#""securityContext":{"seLinuxOptions":{"level":"s0"}}"#;
        for spec in
            [format!(r#"{{"containers":[],{labels}}}"#), format!(r#"{{"containers":[{{"name":"a",{labels}}}]}}"#)]
        {
            let text = "this node does not support SELinux labels (securityContext.seLinuxOptions) on a machine that enforces them";
            let enforces = Path::new("/sys/fs/selinux/enforce").exists();
            assert_eq!(unsupported_pod(&pod("p", &spec)).as_deref(), enforces.then_some(text), "{spec}");
        }
        let wanted = pod("p", r#"{"containers":[{"name":"a","securityContext":{"windowsOptions":{}}}]}"#);
        let text = "this node does not support Windows options (securityContext.windowsOptions)";
        assert_eq!(unsupported_container(&wanted.members[0]).as_deref(), Some(text));
    }
}

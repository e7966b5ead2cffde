//! AppArmor profiles: of the container, else of the pod, else of the annotation that named them before there were fields.

use k8s_openapi::api::core::v1::AppArmorProfile;
use runtime::AppArmor;

use crate::wanted::{Member, Wanted};

/// The annotation's name, with the container's at its end.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The profile that a container asks for.
pub fn profile(wanted: &Wanted, member: &Member) -> Option<AppArmor> {
    let own = member.spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let of_pod = || wanted.spec().security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    match own.or_else(of_pod) {
        Some(profile) => Some(of_field(profile)),
        None => annotated(wanted, member.name()),
    }
}

fn of_field(profile: &AppArmorProfile) -> AppArmor {
    match profile.type_.as_str() {
        "Unconfined" => AppArmor::Unconfined,
        "Localhost" => AppArmor::Localhost(profile.localhost_profile.clone().unwrap_or_default()),
        _ => AppArmor::RuntimeDefault,
    }
}

fn annotated(wanted: &Wanted, container: &str) -> Option<AppArmor> {
    let text = wanted.pod.metadata.annotations.as_ref()?.get(&format!("{ANNOTATION}{container}"))?;
    match text.as_str() {
        "" => None,
        "unconfined" => Some(AppArmor::Unconfined),
        text => Some(match text.strip_prefix("localhost/") {
            Some(name) => AppArmor::Localhost(name.to_owned()),
            None => AppArmor::RuntimeDefault,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_wins_over_the_pod_and_fields_over_annotations() {
        let read = |own: &str, pod: &str, annotation: &str| {
            let text = format!(
                r#"{{"metadata":{{"annotations":{{"{ANNOTATION}a":"{annotation}"}}}},"spec":{{"securityContext":{{{pod}}},
                "containers":[{{"name":"a","securityContext":{{{own}}}}}]}}}}"#
            );
            let wanted = Wanted::new(serde_json::from_str(&text).unwrap());
            profile(&wanted, &wanted.members[0])
        };
        let field = |kind: &str| format!(r#""appArmorProfile":{{"type":"{kind}","localhostProfile":"p"}}"#);
        let local = || Some(AppArmor::Localhost("p".to_owned()));
        assert_eq!(read("", "", ""), None);
        assert_eq!(read(&field("Localhost"), &field("Unconfined"), "unconfined"), local());
        assert_eq!(read("", &field("RuntimeDefault"), "unconfined"), Some(AppArmor::RuntimeDefault));
        assert_eq!(read("", "", "localhost/p"), local());
        assert_eq!(read("", "", "runtime/default"), Some(AppArmor::RuntimeDefault));
        assert_eq!(read("", "", "unconfined"), Some(AppArmor::Unconfined));
    }
}

//! DIVERGES: a container that has no readiness probe is ready as soon as it runs. Upstream tells so after a second, by its
//! own latency, and by then a server listens. Here it takes milliseconds, and the first requests of a rolling update
//! would be refused. So where a Service leads to such a container, it counts as ready once the Service's port
//! listens; after a second at the latest, whether it does or not.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::probes::{self, Target};
use crate::wanted::{Member, Role, Wanted};

/// The longest that a container is waited for, from its start.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// First wait between two looks; it doubles.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// The ports of a container without probes to which services lead. A port that another container declares is that one's.
pub fn ports<'a>(wanted: &Wanted, member: &Member, services: impl Iterator<Item = &'a Service>) -> Vec<u16> {
    let probed = member.spec.readiness_probe.is_some() || member.spec.startup_probe.is_some();
    if probed || !matches!(member.role, Role::Main | Role::Sidecar) {
        return Vec::new();
    }
    let labels = wanted.pod.metadata.labels.as_ref();
    let selects = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|s| !s.is_empty() && client::labels::contains_all(labels, s))
    };
    let of_service = |service: &'a Service| service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    services.filter(selects).flat_map(of_service).filter_map(|port| own_port(wanted, member, port)).collect()
}

fn own_port(wanted: &Wanted, member: &Member, port: &ServicePort) -> Option<u16> {
    if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
        return None;
    }
    let declared = |of: &Member, number: i32| of.spec.ports.iter().flatten().any(|p| p.container_port == number);
    let number = match &port.target_port {
        Some(IntOrString::String(name)) => {
            let named = member.spec.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name))?;
            named.container_port
        }
        Some(IntOrString::Int(number)) if *number != 0 => *number,
        _ => port.port,
    };
    let others = wanted.members.iter().any(|other| other.name() != member.name() && declared(other, number));
    (declared(member, number) || !others).then(|| u16::try_from(number).ok()).flatten()
}

/// Whether a container that started then is still to be waited for.
pub fn is_young(started: Timestamp) -> bool {
    seams::clock::since(started) < WAIT_MAX
}

/// Waits until all ports listen, or long enough.
pub async fn wait(target: Target, ports: Vec<u16>, started: Timestamp) {
    let Ok(host) = target.host(None) else { return };
    let mut pause = LOOK;
    while is_young(started) {
        let mut all = true;
        for port in &ports {
            all &= probes::connect(&host, *port, WAIT_MAX).await.is_ok();
        }
        if all {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;

    #[test]
    fn services_name_the_ports_to_wait_for() {
        let service = |spec: &str| Service { spec: Some(serde_json::from_str(spec).unwrap()), ..Service::default() };
        let services = [
            service(
                r#"{"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080},{"port":53,"protocol":"UDP"}]}"#,
            ),
            service(r#"{"selector":{"app":"web"},"ports":[{"port":81,"targetPort":"metrics"},{"port":82}]}"#),
            service(r#"{"selector":{"app":"db"},"ports":[{"port":5432}]}"#),
            service(r#"{"ports":[{"port":9000}]}"#),
        ];
        let pod = pod(
            "a",
            r#"{"containers":[{"name":"web"},
                {"name":"side","ports":[{"name":"metrics","containerPort":9100},{"containerPort":82}]},
                {"name":"probed","readinessProbe":{"exec":{"command":["x"]}}}]}"#,
        );
        let mut own = (*pod.pod).clone();
        own.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        let wanted = Wanted::new(std::sync::Arc::new(own));
        let of = |name: &str| ports(&wanted, wanted.member(name).unwrap(), services.iter());
        assert_eq!(of("web"), [8080]);
        assert_eq!(of("side"), [8080, 9100, 82]);
        assert_eq!(of("probed"), [0; 0]);
    }
}

//! Host ports: each belongs to one pod.

use super::{Question, Refusal, predicate};
use crate::wanted::Wanted;

/// Protocol, port and address of a host port; an empty address is all.
type HostPort<'a> = (&'a str, i32, &'a str);

/// The host ports of all containers that may run at the same time.
fn of(wanted: &Wanted) -> impl Iterator<Item = HostPort<'_>> {
    wanted.members.iter().flat_map(|m| m.spec.ports.iter().flatten()).filter_map(|p| {
        let port = p.host_port.filter(|port| *port > 0)?;
        let address = p.host_ip.as_deref().filter(|ip| !matches!(*ip, "0.0.0.0" | "::")).unwrap_or_default();
        Some((p.protocol.as_deref().unwrap_or("TCP"), port, address))
    })
}

fn conflict(a: HostPort<'_>, b: HostPort<'_>) -> bool {
    a.0 == b.0 && a.1 == b.1 && (a.2.is_empty() || b.2.is_empty() || a.2 == b.2)
}

/// Whether another pod here has one of the pod's host ports.
pub fn taken(question: &Question<'_>) -> Option<Refusal> {
    let own: Vec<HostPort<'_>> = of(question.wanted).collect();
    if own.is_empty() {
        return None;
    }
    let clash = question.others().any(|other| of(other).any(|theirs| own.iter().any(|mine| conflict(*mine, theirs))));
    clash.then(|| predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;
    use crate::eviction::Pressure;
    use crate::register::Machine;

    #[test]
    fn a_host_port_belongs_to_one_pod() {
        let with = |uid: &str, port: &str| pod(uid, &format!(r#"{{"containers":[{{"name":"a","ports":[{port}]}}]}}"#));
        let others = [
            with("a", r#"{"containerPort":80,"hostPort":80,"protocol":"TCP"}"#),
            with("b", r#"{"containerPort":53,"hostPort":53,"protocol":"UDP","hostIP":"10.0.0.1"}"#),
        ];
        let machine = Machine::default();
        for (port, clashes) in [
            (r#"{"containerPort":8080}"#, false),
            (r#"{"containerPort":1,"hostPort":80}"#, true),
            (r#"{"containerPort":1,"hostPort":80,"hostIP":"10.0.0.1"}"#, true),
            (r#"{"containerPort":1,"hostPort":80,"protocol":"UDP"}"#, false),
            (r#"{"containerPort":1,"hostPort":53,"protocol":"UDP","hostIP":"10.0.0.2"}"#, false),
            (r#"{"containerPort":1,"hostPort":53,"protocol":"UDP","hostIP":"0.0.0.0"}"#, true),
        ] {
            let wanted = with("c", port);
            let found = taken(&Question {
                wanted: &wanted,
                pods: &others,
                machine: &machine,
                node: None,
                pressure: Pressure::default(),
                taken: &Default::default(),
            });
            assert_eq!(found.is_some(), clashes, "{port}");
            if let Some((reason, message)) = found {
                let text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
                assert_eq!((reason.as_str(), message.as_str()), ("NodePorts", text));
            }
        }
    }
}

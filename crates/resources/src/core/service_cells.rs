//! Cells of services.

use machinery::json::Value;

use crate::cells;
use crate::read::Read;

/// Bytes that the load balancer's addresses may take in the narrow table.
const ADDRESSES_WIDTH: usize = 16;

fn spec(object: &Value) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

pub(super) fn kind(object: &Value) -> Value {
    spec(object).text("type").into()
}

pub(super) fn cluster_ip(object: &Value) -> Value {
    let first = spec(object).texts("clusterIPs").next().unwrap_or_else(|| spec(object).text("clusterIP"));
    cells::or_none(first)
}

pub(super) fn external_ip(object: &Value) -> Value {
    let spec = spec(object);
    let external: Vec<&str> = spec.texts("externalIPs").collect();
    match spec.text("type") {
        "ClusterIP" | "NodePort" => cells::or_none(&external.join(",")),
        "ExternalName" => spec.text("externalName").into(),
        "LoadBalancer" => match (load_balancer(object), external.is_empty()) {
            (balancer, true) if balancer.is_empty() => "<pending>".into(),
            (balancer, true) => balancer.into(),
            (balancer, false) if balancer.is_empty() => external.join(",").into(),
            (balancer, false) => format!("{balancer},{}", external.join(",")).into(),
        },
        _ => cells::UNKNOWN.into(),
    }
}

fn load_balancer(object: &Value) -> String {
    let ingress = object.at(&["status", "loadBalancer"]).map_or(&[] as &[Value], |b| b.items("ingress"));
    let mut texts: Vec<&str> = Vec::new();
    for point in ingress {
        let text = [point.text("ip"), point.text("hostname")].into_iter().find(|t| !t.is_empty()).unwrap_or_default();
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.sort_unstable();
    let all = texts.join(",");
    match all.char_indices().nth(ADDRESSES_WIDTH - 3) {
        Some((cut, _)) if all.len() > ADDRESSES_WIDTH => format!("{}...", &all[..cut]),
        _ => all,
    }
}

pub(super) fn ports(object: &Value) -> Value {
    let text = |port: &Value| {
        let (number, protocol) = (port.int("port").unwrap_or(0), port.text("protocol"));
        match port.int("nodePort") {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    let all: Vec<String> = spec(object).items("ports").iter().map(text).collect();
    cells::or_none(&all.join(","))
}

pub(super) fn selector(object: &Value) -> Value {
    cells::labels(spec(object).entries("selector")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_by_type() {
        let cases = [
            (
                r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","ports":[{"port":80,"protocol":"TCP"}]}"#,
                ["10.0.0.1", "<none>", "80/TCP"],
            ),
            (r#"{"type":"ClusterIP","clusterIPs":["None"]}"#, ["None", "<none>", "<none>"]),
            (
                r#"{"type":"NodePort","clusterIP":"10.0.0.1","externalIPs":["1.2.3.4"],"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]}"#,
                ["10.0.0.1", "1.2.3.4", "80:30080/TCP,53/UDP"],
            ),
            (r#"{"type":"LoadBalancer","clusterIP":"10.0.0.1"}"#, ["10.0.0.1", "<pending>", "<none>"]),
            (r#"{"type":"ExternalName","externalName":"example.com"}"#, ["<none>", "example.com", "<none>"]),
        ];
        for (text, wanted) in cases {
            let mut object = Value::object();
            object.set_at(&["spec"], Value::parse(text.as_bytes()).unwrap());
            let cells = [cluster_ip(&object), external_ip(&object), ports(&object)];
            assert_eq!(cells.each_ref().map(|c| c.as_str().unwrap()), wanted, "{text}");
        }
    }
}

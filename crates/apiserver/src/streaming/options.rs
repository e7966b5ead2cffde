//! What admission sees of requests that are carried on: the options that their parameters say.

use machinery::Value;

use crate::http::info::RequestInfo;
use crate::http::query::Query;

/// `PodExecOptions` and its like; null for logs, which admission does not see.
pub(super) fn read(info: &RequestInfo, query: &Query) -> Value {
    let kind = match (info.subresource.as_str(), info.resource.as_str()) {
        ("exec", _) => "PodExecOptions",
        ("attach", _) => "PodAttachOptions",
        ("portforward", _) => "PodPortForwardOptions",
        ("proxy", "pods") => "PodProxyOptions",
        ("proxy", "services") => "ServiceProxyOptions",
        ("proxy", _) => "NodeProxyOptions",
        _ => return Value::Null,
    };
    let mut options = Value::object();
    options.set_at(&["apiVersion"], "v1");
    options.set_at(&["kind"], kind);
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| query.flag(flag)) {
                options.set_at(&[flag], true);
            }
            if let Some(container) = query.first("container").filter(|name| !name.is_empty()) {
                options.set_at(&["container"], container);
            }
            let command: Vec<&str> = query.all("command").collect();
            if !command.is_empty() {
                options.set_at(&["command"], command);
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options.set_at(&["ports"], ports);
            }
        }
        _ if info.rest.is_empty() => {}
        _ => options.set_at(&["path"], info.rest.as_str()),
    }
    options
}

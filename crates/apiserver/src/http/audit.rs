//! Records of requests that come over the socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::BodyExt;

use super::respond::Answer;
use crate::audit::{Audit, Origin, Record};

/// Longest user agent that is recorded, in bytes; upstream's.
const USER_AGENT_BYTES_MAX: usize = 1024;

/// Begins a request's record, for who listens.
pub(super) fn begin<B>(
    audit: &Arc<dyn Audit>,
    request: &Request<B>,
    remote: SocketAddr,
    audit_id: Option<&HeaderValue>,
) -> Arc<Record> {
    let headers = request.headers();
    let uri = request.uri().path_and_query().map(|path| path.as_str());
    let origin = Origin {
        audit_id: audit_id.map(text).unwrap_or_default(),
        request_uri: uri.unwrap_or("/").to_owned(),
        source_ips: sources(headers, remote.ip()),
        user_agent: user_agent(headers),
    };
    Record::new(audit.clone(), origin)
}

/// Tells how the request was answered. A body that takes as long as it takes holds the record until it ends.
pub(super) fn answered(record: Arc<Record>, answer: Answer, is_long_running: bool) -> Answer {
    let code = answer.status().as_u16();
    if !is_long_running {
        record.completed(code);
        return answer;
    }
    record.started(code);
    answer.map(|body| {
        let held = move |frame| {
            let _held = &record;
            frame
        };
        body.map_frame(held).boxed_unsync()
    })
}

/// What a panic said.
pub(super) fn reason(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn user_agent(headers: &HeaderMap) -> String {
    let mut agent = headers.get(USER_AGENT).map(text).unwrap_or_default();
    if agent.len() > USER_AGENT_BYTES_MAX {
        agent.truncate(agent.floor_char_boundary(USER_AGENT_BYTES_MAX));
        agent.push_str("...TRUNCATED");
    }
    agent
}

/// What proxies say that they carry on, then the address of the connection, which cannot lie.
fn sources(headers: &HeaderMap, remote: IpAddr) -> Vec<IpAddr> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut found: Vec<IpAddr> = header("x-forwarded-for").split(',').filter_map(parse).collect();
    if let Some(real) = parse(header("x-real-ip"))
        && !found.contains(&real)
    {
        found.push(real);
    }
    let remote = remote.to_canonical();
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_proxies_say_and_the_connection() {
        // X-Forwarded-For, X-Real-Ip, the connection; what comes of them.
        let cases = [
            ("", "", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1, nonsense, 10.0.0.2", "", "192.0.2.1", "10.0.0.1 10.0.0.2 192.0.2.1"),
            ("10.0.0.1", "10.0.0.1", "192.0.2.1", "10.0.0.1 192.0.2.1"),
            ("10.0.0.1", "10.0.0.9", "192.0.2.1", "10.0.0.1 10.0.0.9 192.0.2.1"),
            ("10.0.0.1,192.0.2.1", "", "192.0.2.1", "10.0.0.1 192.0.2.1"),
            ("", "2001:db8::1", "::ffff:192.0.2.1", "2001:db8::1 192.0.2.1"),
        ];
        for (forwarded, real, remote, wanted) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            headers.insert("x-real-ip", real.parse().unwrap());
            let found: Vec<String> =
                sources(&headers, remote.parse().unwrap()).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), wanted, "{forwarded} {real}");
        }
    }

    #[test]
    fn long_user_agents_are_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, "a".repeat(2000).parse().unwrap());
        assert_eq!(user_agent(&headers), format!("{}...TRUNCATED", "a".repeat(1024)));
    }
}

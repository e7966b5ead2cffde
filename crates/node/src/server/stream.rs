//! exec, attach, port-forward and run.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use runtime::{ContainerState, ExecRequest, ProcessStreams, RuntimeError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Call;
use super::respond::{Body, plain, switching};
use crate::agent::Agent;
use crate::streams::{forward, remote, spdy, websocket};

/// Subprotocols of remote commands over SPDY, the best first.
const SPDY_COMMAND: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const SPDY_FORWARD: &str = "portforward.k8s.io";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// All values of a header that may stand in several lines.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect()
}

/// How the client wants to talk.
enum Upgrade {
    WebSocket { protocol: String, accept: String },
    Spdy { protocol: String },
}

fn upgrade(headers: &HeaderMap, web: &[&str], spdy: &[&str]) -> Result<Upgrade, &'static str> {
    let wanted = values(headers, "upgrade");
    if wanted.iter().any(|u| u.eq_ignore_ascii_case("websocket")) {
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("no WebSocket key")?;
        let offered = values(headers, "sec-websocket-protocol");
        let protocol = match web.iter().find(|p| offered.contains(p)) {
            Some(protocol) => (*protocol).to_owned(),
            None if offered.is_empty() => String::new(),
            None => return Err("no supported subprotocol was offered"),
        };
        return Ok(Upgrade::WebSocket { protocol, accept: derive_accept_key(key.as_bytes()) });
    }
    if wanted.iter().any(|u| u.eq_ignore_ascii_case("spdy/3.1")) {
        let offered = values(headers, STREAM_PROTOCOL);
        let protocol = match spdy.iter().find(|p| offered.contains(p)) {
            Some(protocol) => (*protocol).to_owned(),
            None if offered.is_empty() => (*spdy.last().unwrap_or(&"")).to_owned(),
            None => return Err("unable to upgrade: unable to negotiate protocol"),
        };
        return Ok(Upgrade::Spdy { protocol });
    }
    Err("unable to upgrade: missing upgrade headers in request")
}

impl Upgrade {
    fn response(&self) -> Response<Body> {
        match self {
            Self::WebSocket { protocol, accept } => {
                let mut headers = vec![("upgrade", "websocket".to_owned()), ("sec-websocket-accept", accept.clone())];
                if !protocol.is_empty() {
                    headers.push(("sec-websocket-protocol", protocol.clone()));
                }
                switching(&headers)
            }
            Self::Spdy { protocol } => {
                switching(&[("upgrade", "SPDY/3.1".to_owned()), (STREAM_PROTOCOL, protocol.clone())])
            }
        }
    }
}

async fn running(agent: &Agent, namespace: &str, pod: &str, container: &str) -> Result<String, Response<Body>> {
    let list = super::logs::containers(agent, namespace, pod, container).await;
    match list.into_iter().find(|c| c.state == ContainerState::Running) {
        Some(found) => Ok(found.id),
        None => Err(plain(StatusCode::NOT_FOUND, format!("container not found ({container:?})"))),
    }
}

/// exec (`true`) or attach.
pub async fn command(
    agent: Arc<Agent>,
    call: &Call,
    (namespace, pod, container): (&str, &str, &str),
    exec: bool,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let id = match running(&agent, namespace, pod, container).await {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    let upgrade = match upgrade(request.headers(), &websocket::REMOTE_COMMAND, &SPDY_COMMAND) {
        Ok(upgrade) => upgrade,
        Err(error) => return plain(StatusCode::BAD_REQUEST, error),
    };
    let tty = call.flag(&["tty"]);
    let stdin = call.flag(&["input", "stdin"]);
    let wants = [stdin, call.flag(&["output", "stdout"]), !tty && call.flag(&["error", "stderr"])];
    let command = call.all("command");
    let answer = upgrade.response();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        let io = TokioIo::new(io);
        let remote = match upgrade {
            Upgrade::WebSocket { protocol, .. } => websocket::remote(io, &protocol).await,
            Upgrade::Spdy { protocol } => {
                let resizes = tty && !matches!(protocol.as_str(), "channel.k8s.io" | "v2.channel.k8s.io");
                let expected = 1 + wants.iter().filter(|w| **w).count() + usize::from(resizes);
                let found = spdy::remote(spdy::serve(io), expected, protocol.starts_with("v4")).await;
                let Some(remote) = found else { return };
                remote
            }
        };
        let process = start(&agent, &id, exec, ExecRequest { command, tty, stdin }).await;
        let process = process.map(|p| hide(p, wants));
        remote::connect(process, remote, if exec { "executing command in" } else { "attaching to" }).await;
    });
    answer
}

async fn start(agent: &Agent, id: &str, exec: bool, request: ExecRequest) -> Result<ProcessStreams, RuntimeError> {
    let runtime = &agent.options.runtime;
    if exec { runtime.exec(id, request).await } else { runtime.attach(id, request.stdin).await }
}

/// Keeps only the streams that were asked for.
fn hide(mut process: ProcessStreams, [stdin, stdout, stderr]: [bool; 3]) -> ProcessStreams {
    process.stdin = process.stdin.filter(|_| stdin);
    process.stdout = process.stdout.filter(|_| stdout);
    process.stderr = process.stderr.filter(|_| stderr);
    process
}

/// Port forwarding, over SPDY or SPDY inside a WebSocket.
pub async fn forward(agent: Arc<Agent>, namespace: &str, pod: &str, mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = match upgrade(request.headers(), &[websocket::PORT_FORWARD], &[SPDY_FORWARD]) {
        Ok(upgrade) => upgrade,
        Err(error) => return plain(StatusCode::BAD_REQUEST, error),
    };
    let sandboxes = agent.options.runtime.list_pod_sandboxes().await.unwrap_or_default();
    let ready = |s: &&runtime::SandboxStatus| {
        s.namespace == namespace && s.name == pod && s.state == runtime::SandboxState::Ready
    };
    let Some(sandbox) = sandboxes.iter().find(ready).map(|s| s.id.clone()) else {
        return plain(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let answer = upgrade.response();
    let upgraded = hyper::upgrade::on(&mut request);
    let runtime = agent.options.runtime.clone();
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        let io = TokioIo::new(io);
        let connection = match upgrade {
            Upgrade::WebSocket { .. } => spdy::serve(websocket::tunnel(io).await),
            Upgrade::Spdy { .. } => spdy::serve(io),
        };
        forward::serve(connection, runtime, sandbox).await;
    });
    answer
}

/// Runs a command and answers with its output.
pub async fn run(agent: &Agent, call: &Call, namespace: &str, pod: &str, container: &str) -> Response<Body> {
    let id = match running(agent, namespace, pod, container).await {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    let line = call.get("cmd").unwrap_or_default();
    let command = line.split_whitespace().map(str::to_owned).collect();
    match agent.options.runtime.exec_sync(&id, command, None).await {
        Ok(output) => plain(StatusCode::OK, [output.stdout, output.stderr].concat()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

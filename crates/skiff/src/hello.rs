//! The program of the images `localhost/skiff/hello:v1` and `:v2`: a page that names its pod, its node and its version.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// After the signal to stop, requests are answered for this long: until then some may still be sent here.
const DRAIN: Duration = Duration::from_secs(1);

/// Options of `skiff hello`.
#[derive(Args)]
pub struct HelloOptions {
    /// The version that the page names
    #[arg(long, default_value = "v1")]
    version: String,
    /// The port to listen on
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// Serves until SIGTERM.
pub fn main(options: &HelloOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: &HelloOptions) -> Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("0.0.0.0", options.port))
        .await
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    let page: Arc<str> = page(&options.version).into();
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            accepted = listener.accept() => answer(accepted?.0, page.clone()),
        }
    }
    let drained = tokio::time::sleep(DRAIN);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => return Ok(()),
            accepted = listener.accept() => answer(accepted?.0, page.clone()),
        }
    }
}

/// `POD_NAME` and `NODE_NAME` come from the downward API; a pod's hostname is its name.
fn page(version: &str) -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| hostname.trim().to_owned());
    let node = std::env::var("NODE_NAME").map(|n| format!(" on node {n}")).unwrap_or_default();
    format!("Hello from pod {pod}{node}, version {version}\n")
}

fn answer(stream: tokio::net::TcpStream, page: Arc<str>) {
    tokio::spawn(async move {
        let service = service_fn(move |_: Request<Incoming>| {
            let page = Bytes::copy_from_slice(page.as_bytes());
            async move { Ok::<_, Infallible>(Response::new(Full::new(page))) }
        });
        // A client that goes away in the middle is no error of ours.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
}

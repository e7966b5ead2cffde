//! A stand-in for a node agent: tells what it was asked, and echoes what comes over an upgraded connection.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, LOCATION, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::http::authorities;

/// Starts one, and returns its port. It takes clients of the authority only.
pub async fn start(authority: &str, identity: &(String, String)) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = Arc::new(authorities(authority).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(clients, provider.clone()).build().unwrap();
    let certificate = CertificateDer::from_pem_slice(identity.0.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let tls = acceptor.accept(stream).await.unwrap();
                let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request)) });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    port
}

fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    assert!(!request.headers().contains_key("authorization"), "credentials stay with the API server");
    if path == "/redirect" {
        let answer = Response::builder().status(StatusCode::FOUND).header(LOCATION, "/there");
        return answer.body(Full::default()).unwrap();
    }
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return Response::new(Full::from(format!("{} {path}", request.method())));
    };
    let mut answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header("x-path", path);
    if let Some(version) = request.headers().get("x-stream-protocol-version") {
        answer = answer.header("x-stream-protocol-version", version);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.write_all(b"bye").await.unwrap();
        write.shutdown().await.unwrap();
    });
    answer.header(CONNECTION, "Upgrade").header(UPGRADE, protocol).body(Full::default()).unwrap()
}

//! The listener: connections, TLS, HTTP/1.1 and HTTP/2, and a clean end of all of them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use client::{Shutdown, stopped};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use machinery::ApiError;
use rustls::CipherSuite;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::options::{Limits, ServeOptions};
use super::service::Service;
use crate::authentication::certificates::ClientCertificates;
use crate::pipeline::Pipeline;

/// Serves the API over HTTPS until the signal to stop; then open requests get a moment to end, and watches end at once.
/// Boxed, so that the server is compiled here and not by its caller.
pub fn serve(
    listener: std::net::TcpListener,
    pipeline: Arc<Pipeline>,
    options: ServeOptions,
    shutdown: Shutdown,
) -> BoxFuture<'static, Result<(), ApiError>> {
    Box::pin(accept(listener, pipeline, options, shutdown))
}

async fn accept(
    listener: std::net::TcpListener,
    pipeline: Arc<Pipeline>,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Result<(), ApiError> {
    let failed = |e: std::io::Error| ApiError::Internal(format!("the listener is not usable: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let certificates = ClientCertificates::new(options.client_authorities.clone())?;
    let acceptor = acceptor(&options, certificates.clone())?;
    let limits = options.limits.clone();
    let service = Arc::new(Service::new(pipeline, options, shutdown.clone()));
    let server = Arc::new(Server { acceptor, certificates, limits, service, shutdown: shutdown.clone() });
    let slots = Arc::new(Semaphore::new(server.limits.connections_max));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stopped(shutdown));
    loop {
        let slot = tokio::select! {
            () = &mut stop => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, remote)) => {
                let server = server.clone();
                connections.spawn(async move {
                    server.connection(stream, remote).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!("cannot accept a connection: {e}");
                // Out of file descriptors: wait until some are closed, instead of spinning.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(server.limits.shutdown_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::debug!("{} connections did not end in time", connections.len());
        connections.shutdown().await;
    }
    Ok(())
}

fn acceptor(options: &ServeOptions, certificates: Arc<ClientCertificates>) -> Result<TlsAcceptor, ApiError> {
    let mut provider = rustls::crypto::ring::default_provider();
    // The shorter key first, as Go's servers have it: less work for every byte.
    let shorter = provider.cipher_suites.iter().position(|s| s.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    if let Some(at) = shorter.filter(|_| has_aes()) {
        provider.cipher_suites[..=at].rotate_right(1);
    }
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| ApiError::Internal(format!("TLS is not usable: {e}")))?
        .with_client_cert_verifier(certificates)
        .with_cert_resolver(options.certificate.clone());
    config.ignore_client_order = has_aes();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whether the processor has instructions for AES. Without them the client's choice is the better one.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// What all connections share.
struct Server {
    acceptor: TlsAcceptor,
    certificates: Arc<ClientCertificates>,
    limits: Limits,
    service: Arc<Service>,
    shutdown: Shutdown,
}

impl Server {
    async fn connection(&self, stream: TcpStream, remote: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, self.acceptor.accept(stream));
        let tls = match handshake.await {
            Ok(Ok(tls)) => tls,
            Ok(Err(e)) => return tracing::debug!("TLS handshake failed: {e}"),
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        };
        let (_, session) = tls.get_ref();
        let peer = Arc::new(self.certificates.judge(session.peer_certificates()));
        let is_h2 = session.alpn_protocol() == Some(b"h2");
        let service = self.service.clone();
        let answer = service_fn(move |request: http::Request<Incoming>| {
            let (service, peer) = (service.clone(), peer.clone());
            async move { Ok::<_, Infallible>(service.answer(&peer, remote, request).await) }
        });
        let io = TokioIo::new(tls);
        if is_h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let header_bytes = u32::try_from(self.limits.header_bytes_max).unwrap_or(u32::MAX);
            builder.timer(TokioTimer::new()).max_concurrent_streams(self.limits.streams_max);
            builder.max_header_list_size(header_bytes).keep_alive_interval(Duration::from_secs(30));
            self.drive(builder.serve_connection(io, answer), |c| c.graceful_shutdown()).await;
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(self.limits.idle_timeout);
            builder.max_buf_size(self.limits.header_bytes_max);
            self.drive(builder.serve_connection(io, answer).with_upgrades(), |c| c.graceful_shutdown()).await;
        }
    }

    /// Runs a connection to its end; after the signal to stop, no new requests are taken on it.
    async fn drive<C>(&self, connection: C, stop: impl FnOnce(Pin<&mut C>))
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = &mut connection => result,
            () = stopped(self.shutdown.clone()) => {
                stop(connection.as_mut());
                connection.await
            }
        };
        if let Err(e) = result {
            tracing::debug!("connection failed: {e}");
        }
    }
}

//! A server on loopback with certificates of its own, and a small client for it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use machinery::Value;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::authentication::StaticToken;
use crate::authorization::RoleTable;
use crate::http::{Limits, ServeOptions, ServingCertificate, authorities, serve};
use crate::pipeline::{Pipeline, PipelineConfig, ServiceCidr};

/// Who a client is.
#[derive(Debug, Clone, Copy)]
pub enum Identity {
    /// Nobody.
    None,
    /// Of `system:masters`.
    Admin,
    /// Somebody without any role.
    User,
    /// Signed by an authority that the server does not know.
    Stranger,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, PEM.
    fn issue(&self, name: &str, organization: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A running server.
pub struct Cluster {
    address: SocketAddr,
    authority: Authority,
    certificate: Arc<ServingCertificate>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    pub pipeline: Arc<Pipeline>,
    /// The port of a stand-in for a node agent.
    pub node_port: u16,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, and somebody listens.
    pub async fn start_with(audit: Option<Arc<dyn Audit>>) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("server", None);
        let certificate = ServingCertificate::from_pem(&certificate, &key).unwrap();
        let node = authority.issue("system:node:n1", Some("system:nodes"));
        let node_port = super::node::start(&authority.pem, &node).await;
        let own = authority.issue("kube-apiserver-kubelet-client", Some("system:masters"));
        let config = PipelineConfig {
            store: Arc::new(store::memory::MemoryStore::default()),
            rows: resources::table(),
            authorizer: Arc::new(RoleTable),
            token_issuer: None,
            audit,
            encryption_key: None,
            service_cidr: ServiceCidr { network: "10.43.0.0".parse().unwrap(), prefix_length: 16 },
            node_port_range: 30_000..=32_767,
            advertise_address: "192.0.2.1".parse().unwrap(),
            advertise_port: 6443,
        };
        let pipeline = Pipeline::new(config).await.unwrap();
        let user = client::User { name: "bootstrap".to_owned(), ..client::User::default() };
        let options = ServeOptions {
            certificate: certificate.clone(),
            client_authorities: authorities(&authority.pem).unwrap(),
            issuer: None,
            static_tokens: vec![StaticToken { token: "let-me-in".to_owned(), user }],
            node_client: Some(
                crate::http::node_client(&authority.pem, ServingCertificate::from_pem(&own.0, &own.1).unwrap())
                    .unwrap(),
            ),
            advertise: "127.0.0.1:6443".to_owned(),
            checks: Vec::new(),
            limits: Limits::default(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let served = pipeline.clone();
        let task = tokio::spawn(async move { serve(listener, served, options, stopped).await.unwrap() });
        let cluster = Self { address, authority, certificate, stop, task, pipeline, node_port };
        cluster.make_default_namespace().await;
        cluster
    }

    async fn make_default_namespace(&self) {
        let body = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#;
        let mut admin = self.client(Identity::Admin, "h2").await;
        let made = admin.send(Method::POST, "/api/v1/namespaces", &[("content-type", "application/json")], body).await;
        assert!(matches!(made.code, 201 | 409), "{}", made.text);
    }

    /// A bare TLS connection of an administrator, for upgrades.
    pub async fn tls(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.connect(Identity::Admin, "http/1.1").await
    }

    /// Gives the server a new certificate.
    pub fn renew(&self) {
        let (certificate, key) = self.authority.issue("server", None);
        self.certificate.replace(&certificate, &key).unwrap();
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }

    pub async fn client(&self, identity: Identity, protocol: &str) -> Client {
        let tls = self.connect(identity, protocol).await;
        let server_certificate = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Client { sender: Sender::new(TokioIo::new(tls), protocol == "h2").await, server_certificate }
    }

    async fn connect(&self, identity: Identity, protocol: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities(&self.authority.pem).unwrap());
        let identity = match identity {
            Identity::None => None,
            Identity::Admin => Some(self.authority.issue("admin", Some("system:masters"))),
            Identity::User => Some(self.authority.issue("jane", None)),
            Identity::Stranger => Some(Authority::new().issue("admin", Some("system:masters"))),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tls = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        tls
    }
}

type Tls = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;

enum Sender {
    H1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn new(io: Tls, h2: bool) -> Self {
        if h2 {
            let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            return Self::H2(sender);
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::H1(sender)
    }
}

/// One connection to the server.
pub struct Client {
    sender: Sender,
    pub server_certificate: Vec<u8>,
}

/// A whole answer.
pub struct Answered {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn tree(&self) -> Value {
        Value::parse(self.text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

impl Client {
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        match &mut self.sender {
            Sender::H1(sender) => {
                let request = request.uri(path).header("host", "127.0.0.1").body(body).unwrap();
                sender.send_request(request).await.unwrap()
            }
            Sender::H2(sender) => {
                let request = request.uri(format!("https://127.0.0.1{path}")).body(body).unwrap();
                sender.send_request(request).await.unwrap()
            }
        }
    }

    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let (parts, body) = self.open(method, path, headers, body).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answered { code: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answered {
        self.send(Method::GET, path, headers, "").await
    }

    pub async fn watch(&mut self, path: &str) -> Lines {
        let response = self.open(Method::GET, path, &[], "").await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), read: Vec::new() }
    }
}

/// The events of a watch.
pub struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next event; `None` once the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(Value::parse(&line).unwrap());
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("something comes in time")?.expect("the watch does not break off");
            self.read.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

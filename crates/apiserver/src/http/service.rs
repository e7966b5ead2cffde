//! One request: who asks, for what, in which form; then the pipeline; then the answer.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use client::{Options, Reply, Shutdown, User};
use futures_util::FutureExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use machinery::{ApiError, Value};
use resources::Resource;

use super::info::RequestInfo;
use super::metrics::Metrics;
use super::negotiate::{
    Accepted, Format, Shape, Transforms, accepted, body_format, check_custom, media_type, patch_kind,
};
use super::options::ServeOptions;
use super::query::{OptionsKind, Query};
use super::respond::{self, Answer, Wants};
use super::watches::Encoder;
use super::{audit, lists, protobuf, watches};
use crate::audit::Record;
use crate::authentication::certificates::PeerCertificate;
use crate::authentication::{Authenticator, impersonation};
use crate::flow::{self, Digest, ListWork, Place};
use crate::openapi::Documents;
use crate::pipeline::{Attributes, Body, Incoming, Pipeline};
use crate::streaming;
use crate::table::{IncludeObject, TableOptions};
use crate::verbs::manager;

/// Answers requests.
pub(super) struct Service {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) options: ServeOptions,
    pub(super) documents: Arc<Documents>,
    pub(super) metrics: Metrics,
    backends: streaming::Backends,
    shutdown: Shutdown,
}

/// A request, taken apart.
struct Call {
    user: User,
    info: RequestInfo,
    query: Query,
    headers: HeaderMap,
    wants: Wants,
    record: Option<Arc<Record>>,
}

impl Service {
    pub(super) fn new(pipeline: Arc<Pipeline>, options: ServeOptions, shutdown: Shutdown) -> Self {
        let authenticator =
            Arc::new(Authenticator::new(&pipeline, options.issuer.clone(), options.static_tokens.clone()));
        pipeline.set_token_authenticator(authenticator.clone());
        let documents = Arc::new(Documents::new(pipeline.clone()));
        let backends = streaming::Backends { node_client: options.node_client.clone(), shutdown: shutdown.clone() };
        Self { pipeline, authenticator, options, documents, metrics: Metrics::default(), backends, shutdown }
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer(
        &self,
        peer: &PeerCertificate,
        remote: SocketAddr,
        request: Request<hyper::body::Incoming>,
    ) -> Answer {
        let _in_flight = self.metrics.start();
        let started = tokio::time::Instant::now();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
        let audit_id = request.headers().get("audit-id").cloned();
        let audit_id = audit_id.or_else(|| HeaderValue::from_str(&seams::random::uuid()).ok());
        let is_known = self.pipeline.row(&info.group, &info.version, &info.resource).is_some();
        let listener = self.pipeline.config.audit.as_ref();
        let record = listener.map(|audit| audit::begin(audit, &request, remote, audit_id.as_ref()));
        let done = self.authenticated(peer, request, info.clone(), query, record.clone());
        let mut answer = AssertUnwindSafe(done).catch_unwind().await.unwrap_or_else(|panic| {
            tracing::error!("a request for {} panicked", info.path);
            if let Some(record) = &record {
                record.panicked(audit::reason(&*panic));
            }
            respond::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
        });
        self.metrics.count(&info, is_known, answer.status().as_u16(), started.elapsed());
        let headers = answer.headers_mut();
        if let Some(id) = audit_id {
            headers.insert("audit-id", id);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        match record {
            Some(record) => audit::answered(record, answer, info.is_long_running()),
            None => answer,
        }
    }

    async fn authenticated(
        &self,
        peer: &PeerCertificate,
        mut request: Request<hyper::body::Incoming>,
        info: RequestInfo,
        query: Query,
        record: Option<Arc<Record>>,
    ) -> Answer {
        let wants = wants(request.headers(), &query);
        let user = match self.user(peer, request.headers(), &info, record.as_ref()).await {
            Ok(user) => user,
            Err(e) => return respond::plain_error(&e),
        };
        let mut call = Call { user, info, query, headers: HeaderMap::new(), wants, record };
        let is_watch = call.info.verb == "watch" && !call.info.is_streamed();
        if call.info.is_long_running() && !is_watch {
            // What takes as long as the client likes has no place in flow control.
            return self.carried(call, request).await;
        }
        call.headers = std::mem::take(request.headers_mut());
        let limit = match self.timeout(&call.query) {
            Ok(limit) => limit,
            Err(e) => return call.error(&e),
        };
        let deadline = tokio::time::Instant::now() + limit;
        let wait_max = if is_watch { flow::WAIT_MAX } else { limit / 4 };
        let place = match self.pipeline.enter(&call.digest(), wait_max).await {
            Ok(place) => place,
            Err(turned_away) => {
                let mut answer = respond::text(429, format!("{}\n", flow::TURNED_AWAY));
                turned_away.mark(answer.headers_mut());
                return answer;
            }
        };
        let mut answer = if is_watch {
            self.resource(&call, &place, request).await.unwrap_or_else(|e| call.error(&e))
        } else {
            tokio::time::timeout_at(deadline, self.placed(&call, &place, request)).await.unwrap_or_else(|_| {
                let message = "request did not complete within the allotted timeout";
                call.error(&ApiError::Timeout(message.to_owned()))
            })
        };
        place.mark(answer.headers_mut());
        answer
    }

    /// Carries a request on to a node, a pod or a service.
    async fn carried(&self, call: Call, request: Request<hyper::body::Incoming>) -> Answer {
        if !call.info.is_streamed() {
            return call.error(&ApiError::UnknownPath);
        }
        let (user, attributes, record) = (call.user.clone(), call.attributes(), call.record.clone());
        let carried = streaming::Call { user, attributes, info: &call.info, query: &call.query, record, request };
        let answer = self.backends.serve(&self.pipeline, carried).await;
        answer.unwrap_or_else(|e| call.error(&e))
    }

    /// Answers a request that has its place.
    async fn placed(&self, call: &Call, place: &Place, request: Request<hyper::body::Incoming>) -> Answer {
        if call.info.is_resource {
            let answer = self.resource(call, place, request).await;
            return answer.unwrap_or_else(|e| call.error(&e));
        }
        let (user, audit) = (call.user.clone(), call.record.clone());
        let incoming = Incoming { user, attributes: attributes(&call.info), audit, ..Incoming::default() };
        match self.pipeline.authorize_path(&incoming) {
            Ok(()) => self.path(&call.info, &call.query, &call.headers, &call.wants).await,
            Err(e) => call.error(&e),
        }
    }

    /// The caller, or whom it wants to be.
    async fn user(
        &self,
        peer: &PeerCertificate,
        headers: &HeaderMap,
        info: &RequestInfo,
        record: Option<&Arc<Record>>,
    ) -> Result<User, ApiError> {
        let user = self.authenticator.authenticate(peer, headers).await;
        if let Some(record) = record {
            match &user {
                Ok(user) => record.received(user, &attributes(info)),
                Err(error) => record.unauthenticated(&attributes(info), error),
            }
        }
        let user = user?;
        let other = self.impersonated(user, headers, record);
        if let (Err(error), Some(record)) = (&other, record) {
            record.failed(error);
        }
        other
    }

    fn impersonated(&self, user: User, headers: &HeaderMap, record: Option<&Arc<Record>>) -> Result<User, ApiError> {
        let Some((other, needs)) = impersonation::requested(headers)? else { return Ok(user) };
        for need in needs {
            let attributes = Attributes {
                verb: "impersonate".to_owned(),
                group: need.group.to_owned(),
                version: "v1".to_owned(),
                resource: need.resource.to_owned(),
                subresource: need.subresource,
                namespace: need.namespace,
                name: need.name,
                path: String::new(),
            };
            self.pipeline.authorize_path(&Incoming { user: user.clone(), attributes, ..Incoming::default() })?;
        }
        if let Some(record) = record {
            record.impersonated(&other);
        }
        Ok(other)
    }

    /// How long a request may take: what it asks for with `timeout`, at most what the server grants.
    fn timeout(&self, query: &Query) -> Result<std::time::Duration, ApiError> {
        let most = self.options.limits.request_timeout;
        let Some(text) = query.first("timeout").filter(|t| !t.is_empty()) else { return Ok(most) };
        let invalid = |_| ApiError::BadRequest("invalid timeout specified in the request URL".to_owned());
        let nanos = machinery::duration::parse_go(text).map_err(invalid)?;
        // Zero and less mean the server's own limit, as upstream has it.
        let asked = u64::try_from(nanos).ok().filter(|n| *n > 0).map(std::time::Duration::from_nanos);
        Ok(asked.map_or(most, |asked| asked.min(most)))
    }

    /// Answers a request on a resource.
    async fn resource(
        &self,
        call: &Call,
        place: &Place,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Answer, ApiError> {
        let info = &call.info;
        let row = self.pipeline.row(&info.group, &info.version, &info.resource);
        if info.verb.is_empty() {
            let message = "the server does not allow this method on the requested resource";
            return Err(ApiError::MethodNotAllowed(message.to_owned()));
        }
        let form = form(call, row.as_deref())?;
        let is_custom = row.as_ref().is_some_and(|row| row.schema.is_some());
        let incoming = self.incoming(call, is_custom, request).await?;
        let include = IncludeObject::parse(call.query.first("includeObject")).map_err(ApiError::BadRequest)?;
        if info.verb == "watch" {
            let timeout = incoming.options.timeout_seconds;
            let watch = self.pipeline.watch_in(place, incoming).await?;
            let row = row.ok_or(ApiError::UnknownPath)?;
            let encoder = Encoder { row, format: form.format, shape: form.shape, include, told_columns: false };
            let deprecation = encoder.row.deprecation();
            let mut answer = watches::answer(watch, encoder, timeout, self.shutdown.clone());
            respond::add_warnings(answer.headers_mut(), deprecation.as_slice());
            return Ok(answer);
        }
        let mut warnings = Vec::new();
        let served = match self.pipeline.serve_in(place, incoming, &mut warnings).await {
            Ok(served) => served,
            Err(e) => {
                let mut answer = call.error(&e);
                respond::add_warnings(answer.headers_mut(), &warnings);
                return Ok(answer);
            }
        };
        let row = row.ok_or(ApiError::UnknownPath)?;
        let mut answer = reply(&row, served.reply, served.code, &call.wants.with(form), include);
        let warnings: Vec<String> = row.deprecation().into_iter().chain(served.warnings).collect();
        respond::add_warnings(answer.headers_mut(), &warnings);
        Ok(answer)
    }

    /// The request as the pipeline takes it.
    async fn incoming(
        &self,
        call: &Call,
        is_custom: bool,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Incoming, ApiError> {
        let content_type = call.headers.get(CONTENT_TYPE).and_then(|c| c.to_str().ok());
        let verb = call.info.verb.as_str();
        let patch = if verb == "patch" { Some(patch_kind(content_type)?) } else { None };
        let kind = match verb {
            "create" => OptionsKind::Create,
            "update" => OptionsKind::Update,
            "patch" => OptionsKind::Patch { apply: patch == Some(client::PatchKind::Apply) },
            "delete" | "deletecollection" => OptionsKind::Delete,
            "get" => OptionsKind::Get,
            _ => OptionsKind::List,
        };
        let mut options = call.query.options(kind)?;
        if verb == "watch" {
            select_name(&mut options, &call.info.path_name);
        }
        let delete = if kind == OptionsKind::Delete { call.query.delete_options()? } else { Default::default() };
        let mut body = Body::None;
        if matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection") {
            let mut bytes = read_body(&call.headers, request, self.options.limits.body_bytes_max).await?;
            let mut media_type = media_type(content_type.unwrap_or_default());
            let is_object = !bytes.is_empty() && patch.is_none();
            if is_custom && matches!(verb, "create" | "update" | "patch") {
                let is_own = is_object && call.info.subresource != "scale";
                check_custom(patch, if is_own { body_format(content_type)? } else { Format::Json })?;
            }
            if is_object && body_format(content_type)? == Format::Protobuf {
                bytes = protobuf::to_json(&bytes)?;
                "application/json".clone_into(&mut media_type);
            }
            if !bytes.is_empty() || kind != OptionsKind::Delete {
                body = Body::Bytes { content_type: media_type, bytes };
            }
        }
        let agent = match verb {
            "create" | "update" | "patch" => call.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            _ => None,
        };
        let agent = manager::of_user_agent(agent.unwrap_or_default());
        let (user, attributes, audit) = (call.user.clone(), call.attributes(), call.record.clone());
        Ok(Incoming { user, attributes, agent, options, delete, patch, body, audit })
    }
}

impl Call {
    /// What flow control looks at.
    fn digest(&self) -> Digest<'_> {
        let info = &self.info;
        let lists = matches!(info.verb.as_str(), "list" | "watch");
        Digest {
            user: &self.user,
            verb: &info.verb,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: if info.is_resource { "" } else { &info.path },
            list: if lists { ListWork::of_query(|name| self.query.first(name)) } else { ListWork::default() },
        }
    }

    fn attributes(&self) -> Attributes {
        attributes(&self.info)
    }

    /// Answers with an error.
    fn error(&self, error: &ApiError) -> Answer {
        if let Some(record) = &self.record {
            record.failed(error);
        }
        respond::error(error, &self.wants)
    }
}

/// What a request is about, as authorization sees it.
fn attributes(info: &RequestInfo) -> Attributes {
    if !info.is_resource {
        return Attributes { verb: info.verb.clone(), path: info.path.clone(), ..Attributes::default() };
    }
    Attributes {
        verb: info.verb.clone(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        // A namespace is an object of cluster scope, although its path says where it lies.
        namespace: if info.resource == "namespaces" && info.group.is_empty() {
            String::new()
        } else {
            info.namespace.clone()
        },
        name: info.name.clone(),
        path: String::new(),
    }
}

/// The form of the answer. Watches have none in YAML; what is answered and not kept has no tables.
fn form(call: &Call, row: Option<&Resource>) -> Result<Accepted, ApiError> {
    let accept = call.headers.get(ACCEPT).and_then(|a| a.to_str().ok());
    let is_review = row.is_some_and(|row| !row.stored && row.fixed.is_empty());
    let is_custom = row.is_some_and(|row| row.schema.is_some()) && call.info.subresource != "scale";
    let transforms = match (is_review, is_custom) {
        (true, _) => Transforms::Metadata,
        (_, true) => Transforms::Custom,
        _ => Transforms::All,
    };
    let form = accepted(accept, transforms)?;
    if call.info.verb == "watch" && form.format == Format::Yaml {
        return Err(ApiError::NotAcceptable("application/json, application/vnd.kubernetes.protobuf".to_owned()));
    }
    Ok(form)
}

/// `/api/v1/watch/…/NAME` watches one object.
fn select_name(options: &mut Options, name: &str) {
    if !name.is_empty() {
        let comma = if options.field_selector.is_empty() { "" } else { "," };
        options.field_selector.push_str(&format!("{comma}metadata.name={name}"));
    }
}

fn wants(headers: &HeaderMap, query: &Query) -> Wants {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let by_hand = ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| text(USER_AGENT).starts_with(agent));
    let pretty = if query.has("pretty") { query.flag("pretty") } else { by_hand };
    let gzip = text(ACCEPT_ENCODING).split(',').any(|e| e.split(';').next().unwrap_or_default().trim() == "gzip");
    let accepted = accepted(headers.get(ACCEPT).and_then(|a| a.to_str().ok()), Transforms::All).unwrap_or_default();
    Wants { accepted: Accepted { shape: Shape::Object, ..accepted }, pretty: pretty || accepted.pretty, gzip }
}

fn reply(row: &Resource, reply: Reply, code: u16, wants: &Wants, include: IncludeObject) -> Answer {
    if let Some(error) = misfit(row, &reply, wants.accepted.shape) {
        return respond::error(&error, wants);
    }
    let table = match wants.accepted.shape {
        Shape::Table(version) => Some(TableOptions { version, include, now: seams::clock::now() }),
        _ => None,
    };
    match (reply, wants.accepted.shape, table) {
        (Reply::List(list), _, table) => lists::answer(row, list, wants, table),
        (Reply::Object(entry), _, Some(table)) => respond::value(code, &table.single(row, entry.tree(), true), wants),
        (Reply::Object(entry), Shape::Metadata(version), _) => {
            respond::value(code, &crate::table::partial(entry.tree(), version), wants)
        }
        (Reply::Object(entry), _, _) if wants.pretty || wants.accepted.format != Format::Json => {
            respond::value(code, entry.tree(), wants)
        }
        (Reply::Object(entry), _, _) => respond::bytes(code, entry.bytes(), wants),
        (Reply::Value(tree), Shape::Metadata(version), _) if !is_status(&tree) => {
            respond::value(code, &crate::table::partial(&tree, version), wants)
        }
        (Reply::Value(tree), _, _) => respond::value(code, &tree, wants),
    }
}

/// 406: metadata of one object was asked for where there is a list, or the other way round.
fn misfit(row: &Resource, reply: &Reply, shape: Shape) -> Option<ApiError> {
    let (wanted, is, list) = match (reply, shape) {
        (Reply::List(_), Shape::Metadata(_)) => ("PartialObjectMetadata", "is", "List"),
        (Reply::Object(_), Shape::MetadataList(_)) => ("PartialObjectMetadataList", "is not", ""),
        (Reply::Value(tree), Shape::MetadataList(_)) if !is_status(tree) => ("PartialObjectMetadataList", "is not", ""),
        _ => return None,
    };
    let go_type = row.internal_go_name();
    let message = format!("you requested {wanted}, but the requested object {is} a list (*{go_type}{list})");
    Some(ApiError::other(406, "NotAcceptable", message))
}

fn is_status(tree: &Value) -> bool {
    tree.str_at(&["kind"]) == Some("Status")
}

/// Reads a body, up to the limit.
async fn read_body(
    headers: &HeaderMap,
    request: Request<hyper::body::Incoming>,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::TooLarge(format!("Request entity too large: limit is {bytes_max}"));
    if *request.method() == Method::GET {
        return Ok(Bytes::new());
    }
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|l| l.to_str().ok());
    if announced.and_then(|l| l.parse::<usize>().ok()).is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
        Err(e) => Err(ApiError::BadRequest(format!("unable to read the request body: {e}"))),
    }
}

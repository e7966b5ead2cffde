//! The pipeline: every request, from the network or from this process, takes the way that [`Pipeline::serve`] spells out.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use client::{Action, Backend, DeleteOptions, Reply, Request, User, Watch};
use futures_util::future::{BoxFuture, FutureExt};
use machinery::ApiError;
use resources::{Resource, Verb};
use store::Store;

use crate::admission::Admission;
use crate::allocators::{self, Allocators};
use crate::audit::Record;
use crate::authorization::{Question, denial};
use crate::cache::ending;
use crate::cache::envelope::Sealer;
use crate::cache::feed::Feed;
use crate::custom;
use crate::flow::{self, Digest, Flow, ListWork, Place, TurnedAway};
use crate::kind::Kind;
use crate::kinds::Kinds;
use crate::request::decode;
use crate::subresources::{self, not_allowed};
use crate::verbs::{Call, create, delete, delete_collection, manager, read, update};

pub use crate::audit::Audit;
pub use crate::request::{
    Attributes, Authorizer, Body, ConnectTarget, Decision, Incoming, Named, Served, ServiceCidr, TokenAuthenticator,
    TokenIssuer, TokenWanted, UserRules,
};

/// What a pipeline is made of.
pub struct PipelineConfig {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// What is served.
    pub rows: Vec<Arc<Resource>>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Makes service-account tokens; without one, `serviceaccounts/token` is not found.
    pub token_issuer: Option<Arc<dyn TokenIssuer>>,
    /// Hears of all requests.
    pub audit: Option<Arc<dyn Audit>>,
    /// Secrets are sealed with this (AES-256-GCM); without one they are kept plain.
    pub encryption_key: Option<[u8; 32]>,
    /// Addresses of services.
    pub service_cidr: ServiceCidr,
    /// Ports of NodePort services.
    pub node_port_range: RangeInclusive<u16>,
    /// Where clients outside find this API server.
    pub advertise_address: Ipv4Addr,
    /// The port there.
    pub advertise_port: u16,
}

/// Every request's way to the store and back.
pub struct Pipeline {
    pub(crate) config: PipelineConfig,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) admission: Admission,
    pub(crate) allocators: Allocators,
    pub(crate) token_authenticator: OnceLock<Arc<dyn TokenAuthenticator>>,
    pub(crate) flow: Flow,
}

impl Pipeline {
    /// Builds a pipeline: reads what is stored, follows it from then on, and sees to what every cluster has.
    pub async fn new(config: PipelineConfig) -> Result<Arc<Self>, ApiError> {
        let sealer = config.encryption_key.as_ref().and_then(Sealer::new);
        let kinds = Kinds::new(config.rows.clone(), sealer);
        let feed = Feed::start(config.store.clone(), kinds.caches.clone()).await?;
        kinds.follow_definitions();
        let allocators = Allocators::new(config.service_cidr, config.node_port_range.clone(), &kinds);
        let admission = Admission::new(&kinds);
        let pipeline = Arc::new(Self {
            config,
            kinds,
            feed,
            admission,
            allocators,
            token_authenticator: OnceLock::new(),
            flow: Flow::new(),
        });
        allocators::repair::run(&pipeline, true).await?;
        crate::bootstrap::run(&pipeline).await?;
        flow::start(&pipeline).await;
        crate::upkeep::start(&pipeline);
        crate::admission::policies::type_check::start(&pipeline);
        crate::custom::keeper::start(&pipeline);
        Ok(pipeline)
    }

    /// The row of a resource.
    pub fn row(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.kinds.find(group, version, plural).map(|kind| kind.row.clone())
    }

    /// All rows of this moment: the same allocation as long as they stay the same.
    pub fn rows(&self) -> Arc<[Arc<Resource>]> {
        self.kinds.rows()
    }

    /// Answers one request. This is the order of steps; the verbs' own share of a write (default, admit, prepare, validate,
    /// store) stands in [`crate::verbs::change::change`].
    pub async fn serve(&self, incoming: Incoming) -> Result<Served, ApiError> {
        let place = self.enter(&digest(&incoming), flow::WAIT_MAX).await?;
        self.serve_in(&place, incoming, &mut Vec::new()).await
    }

    /// The first step: a place in flow control, before anything is done or read for a request. Waits for one as long as
    /// `wait_max`.
    pub(crate) async fn enter(&self, digest: &Digest<'_>, wait_max: Duration) -> Result<Place, TurnedAway> {
        self.flow.enter(digest, &self.kinds, wait_max).await
    }

    /// The other steps, of a request that has its place. `refused_warnings` gets what there is to warn of when it is refused.
    pub(crate) async fn serve_in(
        &self,
        _place: &Place,
        incoming: Incoming,
        refused_warnings: &mut Vec<String>,
    ) -> Result<Served, ApiError> {
        let Incoming { user, attributes, agent, options, delete, patch, body, audit } = incoming;
        let audit = audit.as_deref();
        self.authorize(&user, &attributes, audit)?;
        let kind = &*self.route(&attributes, audit)?;
        let validation = decode::validation(&options.field_validation)?;
        let (delete, options) = match attributes.verb.as_str() {
            "delete" | "deletecollection" => self.delete_options(&body, delete, options, audit)?,
            _ => (delete, options),
        };
        let (user, attributes, agent, options) = (&user, &attributes, agent.as_str(), &options);
        let warnings = Vec::new();
        let call = &mut Call { pipeline: self, kind, user, attributes, agent, options, validation, warnings, audit };
        let answer = self.answer(call, &delete, patch, body).await;
        match (&answer, audit) {
            (Ok(served), Some(record)) => record.replied(&kind.row, &served.reply, served.code),
            (Ok(_), None) => {}
            (Err(_), _) => refused_warnings.extend(kind.row.deprecation().into_iter().chain(call.warnings.drain(..))),
        }
        answer
    }

    async fn answer(
        &self,
        call: &mut Call<'_>,
        delete: &DeleteOptions,
        patch: Option<client::PatchKind>,
        body: Body,
    ) -> Result<Served, ApiError> {
        if !call.attributes.subresource.is_empty() {
            return subresources::serve(call, patch, body).await;
        }
        match verb(call.kind, call.attributes)? {
            Verb::Create if !call.kind.row.stored => subresources::review(call, body).await,
            Verb::Create => {
                custom::refuse_when_terminating(call)?;
                create::create(call, body).await
            }
            Verb::Get => read::get(call).await.map(Served::ok),
            Verb::List => read::list(call).await.map(|list| Served::ok(Reply::List(list))),
            Verb::Update => update::update(call, resources::Target::Object, body).await,
            Verb::Patch => update::patch(call, resources::Target::Object, patch, body).await,
            Verb::Delete => delete::delete(call, delete).await,
            Verb::DeleteCollection => delete_collection::delete_collection(call, delete).await,
            Verb::Watch => Err(not_allowed()),
        }
    }

    /// Starts a watch. It holds a place in flow control until it has begun.
    pub async fn watch(&self, mut incoming: Incoming) -> Result<Watch, ApiError> {
        "watch".clone_into(&mut incoming.attributes.verb);
        let place = self.enter(&digest(&incoming), flow::WAIT_MAX).await?;
        self.watch_in(&place, incoming).await
    }

    /// Starts a watch that has its place.
    pub(crate) async fn watch_in(&self, _place: &Place, incoming: Incoming) -> Result<Watch, ApiError> {
        let Incoming { user, attributes, agent, options, audit, .. } = incoming;
        let audit = audit.as_deref();
        self.authorize(&user, &attributes, audit)?;
        let kind = &*self.route(&attributes, audit)?;
        verb(kind, &attributes)?;
        let validation = decode::validation("")?;
        let (user, attributes, agent, options) = (&user, &attributes, agent.as_str(), &options);
        let warnings = Vec::new();
        let call = Call { pipeline: self, kind, user, attributes, agent, options, validation, warnings, audit };
        let watch = read::watch(&call).await?;
        Ok(match &kind.custom {
            Some(custom) => ending::with(watch, custom.ended()),
            None => watch,
        })
    }

    /// Authorizes a streaming request (`log`, `exec`, `attach`, `portforward`, `proxy`) and says where it goes. Its body is what
    /// admission sees of it, if it does.
    pub async fn connect(&self, incoming: Incoming) -> Result<ConnectTarget, ApiError> {
        let Incoming { user, attributes, agent, options, body, audit, .. } = incoming;
        let audit = audit.as_deref();
        self.authorize(&user, &attributes, audit)?;
        let kind = &*self.route(&attributes, audit)?;
        let validation = decode::validation("")?;
        let (user, attributes, agent, options) = (&user, &attributes, agent.as_str(), &options);
        let warnings = Vec::new();
        let call = Call { pipeline: self, kind, user, attributes, agent, options, validation, warnings, audit };
        let target = subresources::connect::target(&call).await?;
        if let Body::Tree(mut wanted) = body {
            self.admission.connect(&call, &mut wanted)?;
        }
        Ok(target)
    }

    /// Authorizes a request for a path that names no resource (`/version`, `/openapi/v3`).
    pub fn authorize_path(&self, incoming: &Incoming) -> Result<(), ApiError> {
        self.authorize(&incoming.user, &incoming.attributes, incoming.audit.as_deref())
    }

    /// Tells the pipeline who knows bearer tokens: made after the pipeline, since it reads objects through it. Only the
    /// first one counts.
    pub fn set_token_authenticator(&self, authenticator: Arc<dyn TokenAuthenticator>) {
        let _ = self.token_authenticator.set(authenticator);
    }

    /// The one place that asks the authorizer.
    pub(crate) fn authorize(
        &self,
        user: &User,
        attributes: &Attributes,
        audit: Option<&Record>,
    ) -> Result<(), ApiError> {
        let decision = self.config.authorizer.authorize(user, attributes);
        if let Some(record) = audit {
            record.decided(&decision);
        }
        let Decision::Deny(reason) = decision else { return Ok(()) };
        let question = Question {
            verb: &attributes.verb,
            group: &attributes.group,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            path: &attributes.path,
        };
        Err(match denial(user, &question) {
            ApiError::Forbidden { message, resource, name, causes } if !reason.is_empty() => {
                ApiError::Forbidden { message: format!("{message}: {reason}"), resource, name, causes }
            }
            other => other,
        })
    }

    fn route(&self, attributes: &Attributes, audit: Option<&Record>) -> Result<Arc<Kind>, ApiError> {
        let kind = self.kinds.find(&attributes.group, &attributes.version, &attributes.resource);
        let kind = kind.ok_or(ApiError::UnknownPath)?;
        // A namespace's own path names it twice.
        let is_namespace = attributes.resource == "namespaces" && attributes.group.is_empty();
        if !kind.row.namespaced && !attributes.namespace.is_empty() && !is_namespace {
            return Err(ApiError::UnknownPath);
        }
        if let Some(record) = audit {
            record.routed(&kind.row);
        }
        Ok(kind)
    }

    fn delete_options(
        &self,
        body: &Body,
        parameters: DeleteOptions,
        mut options: client::Options,
        audit: Option<&Record>,
    ) -> Result<(DeleteOptions, client::Options), ApiError> {
        if let Some(record) = audit
            && let Some(document) = decode::document(body.clone(), "DeleteOptions")?
        {
            record.sent(&document.tree);
        }
        let (delete, dry_run) = decode::delete_options(body.clone(), parameters)?;
        options.dry_run |= dry_run;
        Ok((delete, options))
    }
}

/// The verb of a request, if the row has it and the path is one for it: new objects are sent to where they are listed, changed
/// ones to their own path, and what is in a namespace is changed there only.
fn verb(kind: &Kind, attributes: &Attributes) -> Result<Verb, ApiError> {
    let verb = Verb::ALL.into_iter().find(|verb| verb.as_str() == attributes.verb);
    let verb = verb.filter(|verb| kind.row.verbs.contains(verb)).ok_or_else(not_allowed)?;
    let is_named = !attributes.name.is_empty();
    let fits = match verb {
        Verb::Create => !is_named,
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => is_named,
        Verb::List | Verb::Watch | Verb::DeleteCollection => true,
    };
    let across = kind.row.namespaced && attributes.namespace.is_empty();
    match across && !matches!(verb, Verb::List | Verb::Watch) {
        true if is_named || kind.custom.is_some() => Err(ApiError::UnknownPath),
        true => Err(not_allowed()),
        false if fits => Ok(verb),
        false => Err(not_allowed()),
    }
}

/// What flow control looks at of a request.
fn digest(incoming: &Incoming) -> Digest<'_> {
    let attributes = &incoming.attributes;
    let is_namespace = attributes.resource == "namespaces" && attributes.group.is_empty();
    Digest {
        user: &incoming.user,
        verb: &attributes.verb,
        group: &attributes.group,
        version: &attributes.version,
        resource: &attributes.resource,
        subresource: &attributes.subresource,
        namespace: if is_namespace { &attributes.name } else { &attributes.namespace },
        name: &attributes.name,
        path: &attributes.path,
        list: ListWork::of(&incoming.options),
    }
}

/// Requests of components in this process: the same way, from below the socket.
impl Backend for Pipeline {
    fn call<'a>(&'a self, user: &'a User, request: Request) -> BoxFuture<'a, Result<Reply, ApiError>> {
        async move {
            let mut incoming = incoming(user, request);
            let record = self.begin_record(&mut incoming);
            let served = self.serve(incoming).await;
            if let Some(record) = record {
                record.answered(served.as_ref().map(|served| served.code));
            }
            served.map(|served| served.reply)
        }
        .boxed()
    }

    fn watch<'a>(&'a self, user: &'a User, request: Request) -> BoxFuture<'a, Result<Watch, ApiError>> {
        async move {
            let mut incoming = incoming(user, request);
            "watch".clone_into(&mut incoming.attributes.verb);
            let record = self.begin_record(&mut incoming);
            let watch = Self::watch(self, incoming).await;
            match record {
                Some(record) => record.watched(watch),
                None => watch,
            }
        }
        .boxed()
    }
}

impl Pipeline {
    /// Begins the record of a component's request, for who listens.
    fn begin_record(&self, incoming: &mut Incoming) -> Option<Arc<Record>> {
        let record = Record::of_component(self.config.audit.as_ref()?, incoming);
        incoming.audit = Some(record.clone());
        Some(record)
    }
}

fn incoming(user: &User, request: Request) -> Incoming {
    let Request { action, resource, namespace, name, subresource, options } = request;
    let (verb, patch, delete, body) = match action {
        Action::Get => ("get", None, DeleteOptions::default(), Body::None),
        Action::List => ("list", None, DeleteOptions::default(), Body::None),
        Action::Create(tree) => ("create", None, DeleteOptions::default(), Body::Tree(tree)),
        Action::Update(tree) => ("update", None, DeleteOptions::default(), Body::Tree(tree)),
        Action::Patch(kind, tree) => ("patch", Some(kind), DeleteOptions::default(), Body::Tree(tree)),
        Action::Delete(options) => ("delete", None, options, Body::None),
        Action::DeleteCollection(options) => ("deletecollection", None, options, Body::None),
    };
    let subresource = subresource.unwrap_or_default();
    // An object that is made has its name in its body; the path has none.
    let name = name.filter(|_| verb != "create" || !subresource.is_empty());
    // A list of one object by its name is judged as that object, as over HTTP.
    let name = name.or_else(|| crate::http::info::selected_name(&options.field_selector)).unwrap_or_default();
    let attributes = Attributes {
        verb: verb.to_owned(),
        group: resource.group.as_ref().to_owned(),
        version: resource.version.as_ref().to_owned(),
        resource: resource.resource.as_ref().to_owned(),
        subresource,
        namespace: namespace.unwrap_or_default(),
        name,
        path: String::new(),
    };
    let agent = manager::of_component(user).to_owned();
    Incoming { user: user.clone(), attributes, agent, options, delete, patch, body, audit: None }
}

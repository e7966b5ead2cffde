//! The record of one request: gathers what its events say, and tells them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{Reply, User, Watch};
use futures_util::StreamExt;
use machinery::object::ObjectExt;
use machinery::{ApiError, Map, Value};
use resources::Resource;

use super::{Audit, Event, Level, ObjectReference, Stage};
use crate::request::{Attributes, Decision, Incoming, resource_path};

/// Where a request came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub audit_id: String,
    pub request_uri: String,
    pub source_ips: Vec<IpAddr>,
    pub user_agent: String,
}

/// The record of one request. When it is dropped, the request is over: what was not told to be complete is, then.
pub struct Record {
    audit: Arc<dyn Audit>,
    state: Mutex<State>,
}

struct State {
    event: Event,
    heard: Heard,
}

/// What the listener wants to hear, and has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// It was not asked yet, wants nothing, or was told that the request is over.
    Nothing,
    /// The request came.
    Received,
    /// Its answer began.
    Started,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Record").field(&self.state().event.audit_id).finish()
    }
}

impl Record {
    /// Begins a record. Nothing is told before it is known who asks.
    pub(crate) fn new(audit: Arc<dyn Audit>, origin: Origin) -> Arc<Self> {
        let Origin { audit_id, request_uri, source_ips, user_agent } = origin;
        let received = seams::clock::now();
        let event = Event { audit_id, request_uri, source_ips, user_agent, received, ..Event::default() };
        Arc::new(Self { audit, state: Mutex::new(State { event, heard: Heard::Nothing }) })
    }

    /// Begins the record of a component in this process. It has no connection, and its path is the one that it would ask for.
    pub(crate) fn of_component(audit: &Arc<dyn Audit>, incoming: &Incoming) -> Arc<Self> {
        let Attributes { group, version, resource, subresource, namespace, name, .. } = &incoming.attributes;
        let origin = Origin {
            audit_id: seams::random::uuid(),
            request_uri: resource_path([group, version, namespace, resource, name, subresource]),
            source_ips: Vec::new(),
            user_agent: incoming.agent.clone(),
        };
        let record = Self::new(audit.clone(), origin);
        record.received(&incoming.user, &incoming.attributes);
        record
    }

    /// A component's request was answered, with this code when it went well.
    pub(crate) fn answered(&self, code: Result<u16, &ApiError>) {
        if let Err(error) = code {
            self.failed(error);
        }
        self.completed(code.unwrap_or_else(ApiError::code));
    }

    /// A component's watch has begun, or not. It is complete when it is dropped.
    pub(crate) fn watched(self: Arc<Self>, watch: Result<Watch, ApiError>) -> Result<Watch, ApiError> {
        if let Err(error) = &watch {
            self.failed(error);
        }
        self.started(watch.as_ref().map_or_else(|error| error.code(), |_| 200));
        let held = move |event| {
            let _held = &self;
            event
        };
        watch.map(|watch| watch.map(held).boxed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State, stage: Stage) {
        state.event.stage = stage;
        state.event.stage_time = match stage {
            Stage::RequestReceived => state.event.received,
            _ => seams::clock::now(),
        };
        self.audit.record(&state.event);
    }

    /// Asks the listener how much it wants to know. False when that is nothing.
    fn begin(&self, state: &mut State, user: &User, attributes: &Attributes) -> bool {
        let Some(level) = self.audit.level(user, attributes) else { return false };
        let event = &mut state.event;
        event.level = level;
        event.verb.clone_from(&attributes.verb);
        event.user.clone_from(user);
        event.object_ref = object_ref(attributes);
        true
    }

    /// It is known who asks for what.
    pub(crate) fn received(&self, user: &User, attributes: &Attributes) {
        let state = &mut *self.state();
        if self.begin(state, user, attributes) {
            state.heard = Heard::Received;
            self.tell(state, Stage::RequestReceived);
        }
    }

    /// Nobody is known by the credentials of the request. Upstream tells the beginning of the answer only.
    pub(crate) fn unauthenticated(&self, attributes: &Attributes, error: &ApiError) {
        let state = &mut *self.state();
        if self.begin(state, &User::default(), attributes) {
            state.event.response_status = Some(status(&error.to_status(), error.code()));
            self.tell(state, Stage::ResponseStarted);
        }
    }

    /// Changes the event, when somebody hears it.
    fn note(&self, change: impl FnOnce(&mut Event)) {
        let state = &mut *self.state();
        if state.heard != Heard::Nothing {
            change(&mut state.event);
        }
    }

    /// The caller acts as someone else.
    pub(crate) fn impersonated(&self, user: &User) {
        self.note(|event| event.impersonated_user = Some(user.clone()));
    }

    /// Adds an annotation. What an earlier one says is kept, as upstream does.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.note(|event| match event.annotations.get(key) {
            Some(known) if known != value => {
                tracing::warn!(key, value, known, audit_id = event.audit_id, "an audit annotation is set already");
            }
            Some(_) => {}
            None => {
                event.annotations.insert(key.to_owned(), value.to_owned());
            }
        });
    }

    /// What authorization says.
    pub(crate) fn decided(&self, decision: &Decision) {
        let (decision, reason) = match decision {
            Decision::Allow => ("allow", ""),
            Decision::Deny(reason) => ("forbid", reason.as_str()),
        };
        self.annotate("authorization.k8s.io/decision", decision);
        self.annotate("authorization.k8s.io/reason", reason);
    }

    /// What is served: whether that should not be asked for any more.
    pub(crate) fn routed(&self, row: &Resource) {
        let Some(removed) = row.removed_release() else { return };
        self.annotate("k8s.io/deprecated", "true");
        if !removed.is_empty() {
            self.annotate("k8s.io/removed-release", removed);
        }
    }

    /// The object that was sent.
    pub(crate) fn requested(&self, object: &Value) {
        self.note(|event| {
            let reference = event.object_ref.get_or_insert_default();
            let found = [
                (&mut reference.namespace, object.namespace()),
                (&mut reference.name, object.name()),
                (&mut reference.uid, object.uid()),
                (&mut reference.resource_version, object.resource_version()),
            ];
            for (field, text) in found {
                if field.is_empty() {
                    text.clone_into(field);
                }
            }
            if event.level >= Level::Request {
                event.request_object = Some(object.clone());
            }
        });
    }

    /// What was sent and is no object: a patch, options.
    pub(crate) fn sent(&self, tree: &Value) {
        self.note(|event| {
            if event.level >= Level::Request {
                event.request_object = Some(tree.clone());
            }
        });
    }

    /// What is answered.
    pub(crate) fn replied(&self, row: &Resource, reply: &Reply, code: u16) {
        self.note(|event| {
            if let Reply::Value(tree) = reply
                && tree.str_at(&["kind"]) == Some("Status")
            {
                event.response_status = Some(status(tree, code));
            }
            if event.level >= Level::RequestResponse {
                event.response_object = Some(match reply {
                    Reply::Object(entry) => entry.tree().as_ref().clone(),
                    Reply::List(list) => crate::http::lists::tree(row, list),
                    Reply::Value(tree) => tree.clone(),
                });
            }
        });
    }

    /// An error is answered.
    pub(crate) fn failed(&self, error: &ApiError) {
        self.note(|event| {
            let told = error.to_status();
            event.response_status = Some(status(&told, error.code()));
            if event.level >= Level::RequestResponse {
                event.response_object = Some(told);
            }
        });
    }

    /// The head of the answer is made, and its body will take as long as it takes.
    pub(crate) fn started(&self, code: u16) {
        let state = &mut *self.state();
        if state.heard == Heard::Received {
            code_of(&mut state.event, code);
            state.heard = Heard::Started;
            self.tell(state, Stage::ResponseStarted);
        }
    }

    /// The answer is made.
    pub(crate) fn completed(&self, code: u16) {
        let state = &mut *self.state();
        if state.heard != Heard::Nothing {
            code_of(&mut state.event, code);
            self.end(state, Stage::ResponseComplete);
        }
    }

    /// The request panicked.
    pub(crate) fn panicked(&self, reason: &str) {
        let state = &mut *self.state();
        if state.heard != Heard::Nothing {
            let error = ApiError::Internal(String::new());
            let mut status = status(&error.to_status(), error.code());
            status.remove_at(&["details"]);
            status.set_at(&["message"], format!("APIServer panic'd: {reason}"));
            state.event.response_status = Some(status);
            self.end(state, Stage::Panic);
        }
    }

    fn end(&self, state: &mut State, stage: Stage) {
        state.heard = Heard::Nothing;
        self.tell(state, stage);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.heard == Heard::Nothing {
            return;
        }
        if state.event.response_status.is_none() {
            // Upstream's words for clients that leave before they are answered.
            let mut status = Value::object();
            status.set_at(&["metadata"], Value::object());
            status.set_at(&["status"], "Success");
            status.set_at(&["message"], "Connection closed early");
            status.set_at(&["code"], 200);
            state.event.response_status = Some(status);
        }
        state.heard = Heard::Nothing;
        state.event.stage = Stage::ResponseComplete;
        state.event.stage_time = seams::clock::now();
        self.audit.record(&state.event);
    }
}

/// What a request is about. A namespace stands in the namespace of its name here, as its path says.
fn object_ref(attributes: &Attributes) -> Option<ObjectReference> {
    let Attributes { group, version, resource, subresource, namespace, name, .. } = attributes;
    let is_namespace = resource == "namespaces" && group.is_empty();
    (!resource.is_empty()).then(|| ObjectReference {
        resource: resource.clone(),
        namespace: if is_namespace { name } else { namespace }.clone(),
        name: name.clone(),
        api_group: group.clone(),
        api_version: version.clone(),
        subresource: subresource.clone(),
        ..ObjectReference::default()
    })
}

/// Of a Status what is bounded.
fn status(told: &Value, code: u16) -> Value {
    let mut status = Map::new();
    status.insert("metadata", Map::new());
    for key in ["status", "message", "reason", "details"] {
        if let Some(value) = told.get(key) {
            status.insert(key, value.clone());
        }
    }
    status.insert("code", i64::from(code));
    status.into()
}

fn code_of(event: &mut Event, code: u16) {
    event.response_status.get_or_insert_with(|| status(&Value::Null, code)).set_at(&["code"], i64::from(code));
}

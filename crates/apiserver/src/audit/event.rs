//! The events themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use client::User;
use jiff::Timestamp;
use machinery::time::format_micro;
use machinery::{Map, Value};

use crate::request::user_info;

/// How much is recorded of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Who asked for what, and how it went.
    #[default]
    Metadata,
    /// The object of the request too.
    Request,
    /// The object of the answer too.
    RequestResponse,
}

impl Level {
    /// As events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// It is known who asks, and nothing was done.
    #[default]
    RequestReceived,
    /// The head of the answer is sent, its body follows: of long-running requests only.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// It went wrong in a way that it should not.
    Panic,
}

impl Stage {
    /// As events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// The object that a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectReference {
    /// The plural.
    pub resource: String,
    /// Empty for cluster scope.
    pub namespace: String,
    /// Empty for lists.
    pub name: String,
    /// The UID that the request's object says.
    pub uid: String,
    /// Empty for core.
    pub api_group: String,
    /// Version of the group.
    pub api_version: String,
    /// The revision that the request's object says.
    pub resource_version: String,
    /// What below the object.
    pub subresource: String,
}

/// An event: what is known of a request at one stage.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// How much is recorded.
    pub level: Level,
    /// The same at all stages of a request; clients may choose it with the header `Audit-ID`.
    pub audit_id: String,
    /// The stage.
    pub stage: Stage,
    /// Path and query, as the client sent them.
    pub request_uri: String,
    /// `get`, `list` … or a method in lower case.
    pub verb: String,
    /// Who asks.
    pub user: User,
    /// As whom.
    pub impersonated_user: Option<User>,
    /// From where: what proxies say first, the address of the connection last. Empty for components in this process.
    pub source_ips: Vec<IpAddr>,
    /// With which program.
    pub user_agent: String,
    /// None of paths that name no resource.
    pub object_ref: Option<ObjectReference>,
    /// `metav1.Status`: with all it says when the answer is one, else with its code alone.
    pub response_status: Option<Value>,
    /// What was sent, from level `Request` on. DIVERGES: as it was read, before defaults.
    pub request_object: Option<Value>,
    /// What was answered, at level `RequestResponse`. DIVERGES: the objects, where a client asked for a table of them.
    pub response_object: Option<Value>,
    /// When the request came.
    pub received: Timestamp,
    /// When the stage was reached.
    pub stage_time: Timestamp,
    /// What was noted on the way: by authorization, admission …
    pub annotations: BTreeMap<String, String>,
}

impl Event {
    /// The event as `audit.k8s.io/v1` has it.
    pub fn to_value(&self) -> Value {
        let mut event = Map::new();
        event.insert("kind", "Event");
        event.insert("apiVersion", "audit.k8s.io/v1");
        event.insert("level", self.level.as_str());
        event.insert("auditID", self.audit_id.as_str());
        event.insert("stage", self.stage.as_str());
        event.insert("requestURI", self.request_uri.as_str());
        event.insert("verb", self.verb.as_str());
        event.insert("user", user_info(&self.user));
        if let Some(user) = &self.impersonated_user {
            event.insert("impersonatedUser", user_info(user));
        }
        if !self.source_ips.is_empty() {
            let addresses: Vec<Value> = self.source_ips.iter().map(|ip| ip.to_canonical().to_string().into()).collect();
            event.insert("sourceIPs", addresses);
        }
        if !self.user_agent.is_empty() {
            event.insert("userAgent", self.user_agent.as_str());
        }
        if let Some(object) = &self.object_ref {
            event.insert("objectRef", object.to_map());
        }
        let objects = [
            ("responseStatus", &self.response_status),
            ("requestObject", &self.request_object),
            ("responseObject", &self.response_object),
        ];
        for (key, object) in objects {
            if let Some(object) = object {
                event.insert(key, object.clone());
            }
        }
        event.insert("requestReceivedTimestamp", format_micro(self.received));
        event.insert("stageTimestamp", format_micro(self.stage_time));
        if !self.annotations.is_empty() {
            let annotations: Map = self.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            event.insert("annotations", annotations);
        }
        event.into()
    }
}

impl ObjectReference {
    fn to_map(&self) -> Map {
        let fields = [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiGroup", &self.api_group),
            ("apiVersion", &self.api_version),
            ("resourceVersion", &self.resource_version),
            ("subresource", &self.subresource),
        ];
        fields.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key, text.as_str())).collect()
    }
}

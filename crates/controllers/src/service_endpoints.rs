//! What the endpoints of a service are: the part that Endpoints and EndpointSlices share.

/// The label by which a slice names its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

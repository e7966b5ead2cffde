//! How many seats a request takes: one, unless it reads many objects (upstream's work estimator, by the size of objects).
//!
//! DIVERGES: upstream lets writes keep seats for a while after they are answered, 5 ms for ten watchers that are told. Here
//! an event costs a watcher a pointer, so writes take one seat and keep none.

use super::classify::Digest;
use crate::kinds::Kinds;

/// Bytes held at once that one more seat stands for.
const BYTES_PER_SEAT: u64 = 100_000;
/// Lists out of the cache are sent piece by piece: they hold no more than this at once.
const CACHED_BYTES_MAX: u64 = 1_000_000;
/// Seats that one request may take, unless its level says less.
const SEATS_MAX: u32 = 100;

/// What of a list or watch tells how much work it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListWork {
    /// Page size; 0 is all.
    pub limit: u64,
    /// Whether it reads what was at a revision, which the cache may not know any more.
    pub from_store: bool,
    /// Whether it has selectors.
    pub selects: bool,
    /// Of watches: whether what is there is sent first.
    pub initial: bool,
}

impl ListWork {
    /// Of the options of a request.
    pub(crate) fn of(options: &client::Options) -> Self {
        let version = options.resource_version.as_str();
        Self {
            limit: options.limit,
            from_store: is_from_store(version, &options.resource_version_match, &options.continue_token),
            selects: !options.field_selector.is_empty() || !options.label_selector.is_empty(),
            initial: options.send_initial_events == Some(true) || is_any_version(version),
        }
    }

    /// Of a query, by its parameters.
    pub(crate) fn of_query<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Self {
        let text = |name| parameter(name).unwrap_or_default();
        let version = text("resourceVersion");
        Self {
            limit: text("limit").parse().unwrap_or(0),
            from_store: is_from_store(version, text("resourceVersionMatch"), text("continue")),
            selects: !text("fieldSelector").is_empty() || !text("labelSelector").is_empty(),
            initial: matches!(text("sendInitialEvents"), "true" | "1") || is_any_version(version),
        }
    }
}

fn is_any_version(version: &str) -> bool {
    matches!(version, "" | "0")
}

fn is_from_store(version: &str, version_match: &str, continue_token: &str) -> bool {
    !continue_token.is_empty() || (version_match == "Exact" && !is_any_version(version))
}

/// Seats of a request in a level that grants one request at most `seats_max` (0: no limit of its own).
pub(super) fn seats(digest: &Digest<'_>, seats_max: u32, kinds: &Kinds) -> u32 {
    let list = digest.list;
    let reads_many = match digest.verb {
        "list" => true,
        "watch" => list.initial,
        _ => false,
    };
    // A list of one name reads that one.
    if !reads_many || !digest.path.is_empty() || !digest.name.is_empty() {
        return 1;
    }
    let Some((count, bytes)) = kinds.volume(digest.group, digest.resource).filter(|(count, _)| *count > 0) else {
        return 1;
    };
    let page = if list.limit > 0 { list.limit.min(count) } else { count };
    let from_store = list.from_store && digest.verb == "list";
    let held = if from_store && list.selects { page.max(count / 2) } else { page };
    let held = held.saturating_mul(bytes.div_ceil(count));
    let held = if from_store { held } else { held.min(CACHED_BYTES_MAX) };
    let most = if seats_max == 0 { SEATS_MAX } else { seats_max.min(SEATS_MAX) };
    u32::try_from(held.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX).clamp(1, most)
}

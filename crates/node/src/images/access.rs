//! Whether a pod may use an image that is there (KEP-2535): if anybody could pull it, or the pod has a secret that did. If not,
//! the registry is asked with what the pod has; what it then took is kept, so that it need not be asked again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use runtime::Runtime;

use super::records::{Known, PullSecret, Pullers, Records};

/// Secrets that are kept for one image because they were found to fit; those that pulled it are kept in any case.
const MATCHING_SECRETS_MAX: usize = 100;

/// Which images that are there pods may use without a look at their credentials (upstream's
/// `imagePullCredentialsVerificationPolicy`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verification {
    /// `NeverVerify`: all.
    Never,
    /// `NeverVerifyPreloadedImages`: those that came otherwise than by a pod's pull.
    #[default]
    NotPreloaded,
    /// `NeverVerifyAllowlistedImages`: these, however they came.
    NotListed(Vec<ImagePattern>),
    /// `AlwaysVerify`: none.
    Always,
}

impl Verification {
    /// Upstream's name for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Never => "NeverVerify",
            Self::NotPreloaded => "NeverVerifyPreloadedImages",
            Self::NotListed(_) => "NeverVerifyAllowlistedImages",
            Self::Always => "AlwaysVerify",
        }
    }

    fn exempts(&self, repository: &str, was_pulled: bool) -> bool {
        match self {
            Self::Never => true,
            Self::NotPreloaded => !was_pulled,
            Self::NotListed(patterns) => patterns.iter().any(|pattern| pattern.matches(repository)),
            Self::Always => false,
        }
    }
}

/// Images without tag or digest: one (`registry.io/team/app`), or all below a place (`registry.io/team/*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    name: String,
    all_below: bool,
}

impl ImagePattern {
    fn matches(&self, repository: &str) -> bool {
        if self.all_below { repository.starts_with(&self.name) } else { repository == self.name }
    }
}

impl std::fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.name, if self.all_below { "*" } else { "" })
    }
}

impl FromStr for ImagePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text != text.trim() {
            return Err(format!("leading/trailing spaces are not allowed: {text}"));
        }
        let (name, all_below) = match text.strip_suffix('*') {
            Some(name) if name.ends_with('/') => (name, true),
            _ => (text, false),
        };
        if name.contains('*') {
            return Err(format!("not a valid wildcard pattern, only patterns ending with '/*' are allowed: {text}"));
        }
        match all_below {
            true if name.len() == 1 => Err("at least registry hostname is required".to_owned()),
            true => Ok(Self { name: name.to_owned(), all_below }),
            false => {
                let repository = runtime::image_repository(name);
                let repository = repository.map_err(|error| format!("failed to parse as an image name: {error}"))?;
                match repository.ends_with(name) {
                    true => Ok(Self { name: repository, all_below }),
                    false => Err(format!("neither tag nor digest is accepted in an image reference: {text}")),
                }
            }
        }
    }
}

/// What is to be done about an image that is there.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The policy lets all pods use it.
    Exempt,
    /// Anybody could pull it.
    Open,
    /// The registry must be asked.
    Closed,
    /// It may; that the image came without a pull is to be kept ([`Access::preloaded`]).
    Preloaded,
    /// It may, if it has one of the secrets.
    AskPod,
}

/// Who may use which image of this node.
pub struct Access {
    verification: Verification,
    records: Records,
}

impl Access {
    /// Reads what is kept in a directory; it is made when it is missing.
    pub fn open(directory: &Path, verification: Verification) -> io::Result<Self> {
        Ok(Self { verification, records: Records::open(directory)? })
    }

    /// Makes pulls that were broken off when skiff ended, and whose image is there after all, known as pulled: by whom is not known.
    pub async fn settle(&self, runtime: &Arc<dyn Runtime>) {
        let broken_off = self.records.broken_off();
        if broken_off.is_empty() {
            return;
        }
        let Ok(images) = runtime.list_images().await else { return };
        for name in broken_off {
            let is_it = |known: &String| *known == name || runtime::normalize_image(&name).is_ok_and(|n| n == *known);
            for image in images.iter().filter(|i| i.repo_tags.iter().chain(&i.repo_digests).any(is_it)) {
                self.pulled(&name, &image.id, None);
            }
        }
    }

    /// Whether a pod may use an image, by the name that it calls it and the image's id.
    pub fn judge(&self, name: &str, id: &str) -> Verdict {
        let Ok(repository) = runtime::image_repository(name) else { return Verdict::Closed };
        let known = self.records.find(id);
        let pullers = match &known {
            Some(Known::Record(record)) => record.credential_mapping.get(&repository),
            _ => None,
        };
        let was_pulled = match &known {
            Some(Known::Damaged) => true,
            Some(Known::Record(record)) => match pullers {
                Some(pullers) => !pullers.preloaded,
                None => {
                    record.credential_mapping.is_empty() || record.credential_mapping.values().any(|p| !p.preloaded)
                }
            },
            None => false,
        };
        let was_pulled = was_pulled || self.records.is_pulling(name);
        match pullers {
            None if self.verification.exempts(&repository, was_pulled) && !was_pulled => Verdict::Preloaded,
            _ if self.verification.exempts(&repository, was_pulled) => Verdict::Exempt,
            Some(pullers) if pullers.node_pods_accessible => Verdict::Open,
            Some(pullers) if !pullers.kubernetes_secrets.is_empty() => Verdict::AskPod,
            _ => Verdict::Closed,
        }
    }

    /// Keeps that an image came without a pull: pulls under other names do not close it.
    pub fn preloaded(&self, name: &str, id: &str) {
        let pullers = Pullers { preloaded: true, ..Pullers::default() };
        if let Ok(repository) = runtime::image_repository(name) {
            self.keep(id, &repository, Some(&pullers));
        }
    }

    /// Whether one of a pod's secrets opens an image: one with the same credentials as, or the very one that pulled it before.
    pub fn admits(&self, name: &str, id: &str, secrets: &[PullSecret]) -> bool {
        let Ok(repository) = runtime::image_repository(name) else { return false };
        let Some(Known::Record(record)) = self.records.find(id) else { return false };
        let known = record.credential_mapping.get(&repository).map_or(&[][..], |pullers| &pullers.kubernetes_secrets);
        let fits = |own: &&PullSecret| {
            known.iter().any(|old| old.credential_hash == own.credential_hash || old.is_same_object(own))
        };
        let Some(own) = secrets.iter().find(fits) else { return false };
        if known.len() < MATCHING_SECRETS_MAX {
            self.keep(id, &repository, Some(&Pullers::one(own.clone())));
        }
        true
    }

    /// A pull begins. Each must end with [`Access::pulled`] or [`Access::failed`].
    pub fn begin(&self, name: &str) -> io::Result<()> {
        self.records.begin(name)
    }

    /// It brought an image that these may use; `None` when it is not known who.
    pub fn pulled(&self, name: &str, id: &str, pullers: Option<&Pullers>) {
        let Ok(repository) = runtime::image_repository(name) else { return };
        // What cannot be kept must stay known as begun, or it would pass for one that nobody pulled.
        if self.keep(id, &repository, pullers) {
            self.failed(name);
        }
    }

    /// It came to nothing.
    pub fn failed(&self, name: &str) {
        if let Err(error) = self.records.end(name) {
            tracing::warn!(image = name, %error, "the record of a pull that ended was not removed");
        }
    }

    /// How many images have a record, and how many are being pulled.
    pub fn count(&self) -> (usize, usize) {
        self.records.count()
    }

    /// Forgets images that were gone at a moment.
    pub fn prune(&self, there: &BTreeSet<String>, at: Timestamp) {
        if let Err(error) = self.records.prune(there, at) {
            tracing::warn!(%error, "the record of an image that is gone was not removed");
        }
    }

    fn keep(&self, id: &str, repository: &str, pullers: Option<&Pullers>) -> bool {
        let kept = self.records.add(id, repository, pullers);
        if let Err(error) = &kept {
            tracing::warn!(image = repository, %error, "who pulled an image was not recorded");
        }
        kept.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(uid: &str, hash: &str) -> PullSecret {
        let text = str::to_owned;
        PullSecret { namespace: text("n"), name: text("s"), uid: text(uid), credential_hash: text(hash) }
    }

    fn pulled(access: &Access, name: &str, id: &str, pullers: Pullers) {
        access.begin(name).unwrap();
        access.pulled(name, id, Some(&pullers));
    }

    #[test]
    fn policies_exempt_what_upstreams_do() {
        let listed = ["docker.io/library/alpine", "redis", "registry.io/team/*"].map(|text| text.parse().unwrap());
        let listed = Verification::NotListed(listed.to_vec());
        for (verification, name, was_pulled, exempt) in [
            (&Verification::Never, "a", true, true),
            (&Verification::NotPreloaded, "a", false, true),
            (&Verification::NotPreloaded, "a", true, false),
            (&Verification::Always, "a", false, false),
            (&listed, "alpine:3", true, true),
            (&listed, "redis", false, true),
            (&listed, "registry.io/team/x/y:1", true, true),
            (&listed, "registry.io/teams/x:1", false, false),
            (&listed, "nginx", false, false),
        ] {
            let repository = runtime::image_repository(name).unwrap();
            assert_eq!(verification.exempts(&repository, was_pulled), exempt, "{verification:?} {name} {was_pulled}");
        }
    }

    #[test]
    fn patterns_have_no_tag_and_one_star_at_most() {
        for (bad, why) in [
            (" a", "leading/trailing spaces are not allowed:  a"),
            ("a*", "not a valid wildcard pattern, only patterns ending with '/*' are allowed: a*"),
            ("a/*/b", "not a valid wildcard pattern, only patterns ending with '/*' are allowed: a/*/b"),
            ("/*", "at least registry hostname is required"),
            ("a:1", "neither tag nor digest is accepted in an image reference: a:1"),
        ] {
            assert_eq!(bad.parse::<ImagePattern>().unwrap_err(), why);
        }
        for bad in ["", "*", "A", "a@sha256:0"] {
            assert!(bad.parse::<ImagePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_is_open_to_those_who_could_pull_it() {
        let place = tempfile::tempdir().unwrap();
        let access = Access::open(place.path(), Verification::NotPreloaded).unwrap();
        assert_eq!(access.judge("r.io/a:1", "a"), Verdict::Preloaded);
        pulled(&access, "r.io/a:1", "a", Pullers::one(secret("u", "h")));
        assert_eq!(access.judge("r.io/a:2", "a"), Verdict::AskPod, "tags do not matter");
        assert_eq!(access.judge("r.io/b:1", "a"), Verdict::Closed, "another name, which nobody pulled");
        assert_eq!(access.judge("a", "a"), Verdict::Closed);
        assert!(!access.admits("r.io/a:1", "a", &[]));
        assert!(!access.admits("r.io/a:1", "a", &[secret("v", "i")]));
        // The same secret with other credentials, then another secret with these: each is kept.
        assert!(access.admits("r.io/a:1", "a", &[secret("v", "i"), secret("u", "j")]));
        assert!(access.admits("r.io/a:1", "a", &[secret("w", "j")]));
        assert!(access.admits("r.io/a:1", "a", &[secret("w", "k")]));
        assert!(!access.admits("r.io/a:1", "a", &[secret("x", "h")]), "what was replaced no longer counts");
        pulled(&access, "r.io/a:1", "a", Pullers::everybody());
        assert_eq!(access.judge("r.io/a:1", "a"), Verdict::Open);
        assert_eq!(access.judge("UPPER", "a"), Verdict::Closed);
    }

    #[test]
    fn what_was_there_before_stays_open_whoever_pulls_it_under_another_name() {
        let place = tempfile::tempdir().unwrap();
        let access = Access::open(place.path(), Verification::NotPreloaded).unwrap();
        access.preloaded("a:1", "id");
        assert_eq!(access.judge("a:1", "id"), Verdict::Exempt);
        assert_eq!(access.judge("b:1", "id"), Verdict::Preloaded);
        pulled(&access, "c:1", "id", Pullers::one(secret("u", "h")));
        assert_eq!(access.judge("a:1", "id"), Verdict::Exempt);
        assert_eq!(access.judge("b:1", "id"), Verdict::Closed);
        let always = Access::open(place.path(), Verification::Always).unwrap();
        assert_eq!(always.judge("a:1", "id"), Verdict::Closed);
        assert_eq!(always.judge("c:1", "id"), Verdict::AskPod);
    }

    #[tokio::test]
    async fn a_pull_that_was_broken_off_leaves_the_image_closed() {
        let place = tempfile::tempdir().unwrap();
        let open = || Access::open(place.path(), Verification::NotPreloaded).unwrap();
        let access = open();
        access.begin("app").unwrap();
        access.begin("other").unwrap();
        assert_eq!(access.judge("app", "sha256:app"), Verdict::Closed);
        let access = open();
        assert_eq!(access.judge("app", "sha256:app"), Verdict::Closed);
        let runtime: Arc<dyn Runtime> = Arc::new(runtime::FakeRuntime::default());
        access.settle(&runtime).await;
        assert_eq!(access.records.broken_off(), ["other"], "it did not come");
        let access = open();
        assert_eq!(access.judge("app", "sha256:app"), Verdict::Closed, "nobody knows who pulled it");
        access.begin("third").unwrap();
        access.failed("third");
        assert_eq!(access.judge("third", "sha256:third"), Verdict::Preloaded);
    }
}

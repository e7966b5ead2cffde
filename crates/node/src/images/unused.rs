//! Removal of images that nobody uses, when the disk runs full (upstream's thresholds: at 85% used, down to 80%).
//! DIVERGES: of a large disk not so much must be free, or a developer's well-filled one would lose its images all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::Timestamp;
use runtime::ImageStatus;

use crate::agent::Agent;
use crate::disk::Space;

/// Below which free part of the disk images are removed, and until which.
const FREE_PERCENT: u64 = 15;
const FREE_PERCENT_AFTER: u64 = 20;
/// Bytes that are enough on any disk.
const FREE_ENOUGH: u64 = 6 << 30;
const FREE_ENOUGH_AFTER: u64 = 8 << 30;
/// How often the disk is looked at.
const PERIOD: Duration = Duration::from_secs(300);
/// An image that was just pulled may belong to a container that is about to be made.
const AGE_MIN: Duration = Duration::from_secs(120);

/// What is known of an image's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    first_seen: Timestamp,
    last_used: Option<Timestamp>,
}

/// The use of all images, by id.
pub type Uses = BTreeMap<String, Use>;

/// Removes what is surplus, now and then.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let mut uses = Uses::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        forget(&agent).await;
        let Ok(filesystem) = agent.options.runtime.image_filesystem().await else { continue };
        let space = Space::of(&filesystem.mountpoint);
        let surplus = surplus(&space);
        let freed = collect(&agent, &mut uses, surplus).await;
        if freed < surplus {
            let text = format!(
                "Failed to garbage collect required amount of images. Attempted to free {surplus} bytes, but only found \
                 {freed} bytes eligible to free."
            );
            agent.event(&crate::register::reference(&agent), EventType::Warning, "FreeDiskSpaceFailed", text);
        }
    }
}

/// Forgets who pulled images that are gone.
async fn forget(agent: &Agent) {
    let begun = seams::clock::now();
    let Ok(images) = agent.options.runtime.list_images().await else { return };
    let there: BTreeSet<String> = images.into_iter().map(|image| image.id).collect();
    let access = agent.images.clone();
    let _ = tokio::task::spawn_blocking(move || access.prune(&there, begun)).await;
}

/// Bytes by which the disk is too full.
fn surplus(space: &Space) -> u64 {
    if space.bytes_free > (space.bytes / 100 * FREE_PERCENT).min(FREE_ENOUGH) || space.bytes == 0 {
        return 0;
    }
    (space.bytes / 100 * FREE_PERCENT_AFTER).min(FREE_ENOUGH_AFTER).saturating_sub(space.bytes_free)
}

/// Removes unused images until `wanted` bytes are free again; how many that gave.
pub(crate) async fn collect(agent: &Agent, uses: &mut Uses, wanted: u64) -> u64 {
    let runtime = &agent.options.runtime;
    let (Ok(images), Ok(containers)) = (runtime.list_images().await, runtime.list_containers().await) else { return 0 };
    let used: BTreeSet<String> = containers.into_iter().map(|c| c.image_id).collect();
    let now = seams::clock::now();
    note(uses, &images, &used, now);
    let mut freed = 0;
    for image in doomed(uses, &images, &used, now, wanted) {
        match runtime.remove_image(&image.id).await {
            Ok(()) => {
                tracing::info!(image = image.repo_tags.first().unwrap_or(&image.id), "removed an unused image");
                freed += image.size;
            }
            Err(error) => tracing::warn!(image = image.id, %error, "unused image not removed"),
        }
    }
    freed
}

fn note(uses: &mut Uses, images: &[ImageStatus], used: &BTreeSet<String>, now: Timestamp) {
    uses.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in images {
        let entry = uses.entry(image.id.clone()).or_insert(Use { first_seen: now, last_used: None });
        if used.contains(&image.id) {
            entry.last_used = Some(now);
        }
    }
}

/// The images to remove: unused, not new, the longest unused first, until they are worth `wanted` bytes.
fn doomed<'a>(
    uses: &Uses,
    images: &'a [ImageStatus],
    used: &BTreeSet<String>,
    now: Timestamp,
    wanted: u64,
) -> Vec<&'a ImageStatus> {
    let old = |known: &Use| Duration::try_from(now.duration_since(known.first_seen)).is_ok_and(|age| age >= AGE_MIN);
    let mut list: Vec<(&Use, &ImageStatus)> = images
        .iter()
        .filter(|image| !used.contains(&image.id))
        .filter_map(|image| Some((uses.get(&image.id).filter(|known| old(known))?, image)))
        .collect();
    list.sort_by_key(|(known, _)| (known.last_used, known.first_seen));
    let mut worth = 0;
    let enough = |image: &ImageStatus| {
        let more = worth < wanted;
        worth += image.size;
        more
    };
    let mut enough = enough;
    list.into_iter().map(|(_, image)| image).take_while(|image| enough(image)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_surplus() {
        let of = |all: u64, free: u64| surplus(&Space { bytes: all, bytes_free: free, ..Space::default() });
        for (free, bytes) in [(50, 0), (16, 0), (15, 5), (0, 20)] {
            assert_eq!(of(100, free), bytes, "{free}");
        }
        assert_eq!(of(250 << 30, 7 << 30), 0);
        assert_eq!(of(250 << 30, 5 << 30), 3 << 30);
        assert_eq!(surplus(&Space::default()), 0);
    }

    #[test]
    fn the_longest_unused_go_first() {
        let image = |id: &str| ImageStatus {
            id: id.to_owned(),
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            size: 10,
            uid: None,
            username: String::new(),
        };
        let images: Vec<ImageStatus> = ["used", "lately", "long", "never", "new"].map(image).to_vec();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut uses = Uses::new();
        note(&mut uses, &images[..4], &BTreeSet::from(["used".to_owned(), "long".to_owned()]), at(0));
        note(&mut uses, &images[..4], &BTreeSet::from(["used".to_owned(), "lately".to_owned()]), at(100));
        let used = BTreeSet::from(["used".to_owned()]);
        note(&mut uses, &images, &used, at(1000));
        let names = |wanted: u64| {
            let list = doomed(&uses, &images, &used, at(1010), wanted);
            list.iter().map(|image| image.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), [""; 0]);
        assert_eq!(names(1), ["never"]);
        assert_eq!(names(15), ["never", "long"]);
        assert_eq!(names(1000), ["never", "long", "lately"]);
    }
}

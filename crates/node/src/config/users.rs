//! Which users of the host a pod's user namespace has (KEP-127): each pod a range of its own, kept with its files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use runtime::IdRange;

/// Ids of one pod. Upstream's default (`userNamespaces.idsPerPod`).
const IDS: u32 = 65_536;
/// Ranges that there are, the first of which is the host's own.
const RANGES_MAX: u32 = 32_768;
/// Where a pod's range is kept, in its directory.
const FILE: &str = "user-namespace";

/// One range is picked at a time.
static PICKING: Mutex<()> = Mutex::new(());

/// The range of the pod whose directory is `own`, among those of the pods in `pods`. The same one as long as it lives.
pub fn range(pods: &Path, own: &Path) -> Result<IdRange, String> {
    let _one = PICKING.lock().unwrap_or_else(|e| e.into_inner());
    let file = own.join(FILE);
    if let Some(number) = read(&file) {
        return Ok(of(number));
    }
    let entries = std::fs::read_dir(pods).map_err(|e| format!("{}: {e}", pods.display()))?;
    let taken: BTreeSet<u32> = entries.flatten().filter_map(|entry| read(&entry.path().join(FILE))).collect();
    let free = (1..RANGES_MAX).find(|number| !taken.contains(number));
    let number = free.ok_or("all ranges of user ids are taken")?;
    let kept = std::fs::create_dir_all(own).and_then(|()| std::fs::write(&file, number.to_string()));
    kept.map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(of(number))
}

fn read(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.parse().ok().filter(|number| (1..RANGES_MAX).contains(number))
}

fn of(number: u32) -> IdRange {
    IdRange { first: number * IDS, length: IDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_has_its_own_range() {
        let pods = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let range = |pod: &str| range(pods.path(), &pods.path().join(pod)).unwrap().first;
        assert_eq!([range("a"), range("b"), range("a")], [IDS, 2 * IDS, IDS]);
        std::fs::remove_dir_all(pods.path().join("a")).unwrap();
        assert_eq!([range("c"), range("b")], [IDS, 2 * IDS]);
    }
}

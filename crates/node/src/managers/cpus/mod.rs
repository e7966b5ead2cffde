//! CPUs that a container has for itself (upstream: "CPU management policies", static): each container of a Guaranteed pod that
//! asks for whole CPUs. All others share the rest.

mod take;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checksum::{fnv32a, map, unusable};
use super::cpu_set::CpuSet;
use super::machine::Topology;
use super::topology::{Hint, Hints, Mask};
use crate::admission::Refusal;
use crate::config::resources::{Qos, over_time, qos};
use crate::files::replace_file;
use crate::quantity;
use crate::wanted::{Member, Role, Wanted};

/// The state file's name.
pub const NAME: &str = "cpu_manager_state";

/// Options of the static policy, as `--cpu-manager-policy-options` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuOptions {
    /// `full-pcpus-only`: only whole cores are given out.
    pub full_cores: bool,
    /// `distribute-cpus-across-numa`: as many from each NUMA node when one is not enough.
    pub distribute: bool,
    /// `align-by-socket`: CPUs of one socket lie together.
    pub by_socket: bool,
    /// `strict-cpu-reservation`: no pod runs on reserved CPUs.
    pub strict: bool,
}

impl FromStr for CpuOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form OPTION=true"))?;
            let value = value.parse::<bool>().map_err(|error| format!("bad value for option {name:?}: {error}"))?;
            let option = match name.trim() {
                "full-pcpus-only" => &mut all.full_cores,
                "distribute-cpus-across-numa" => &mut all.distribute,
                "align-by-socket" => &mut all.by_socket,
                "strict-cpu-reservation" => &mut all.strict,
                other => return Err(format!("unknown CPU Manager Policy option: {other:?}")),
            };
            *option = value;
        }
        Ok(all)
    }
}

type Assigned = BTreeMap<String, BTreeMap<String, CpuSet>>;

/// Who has which CPUs.
pub struct Cpus {
    machine: Arc<Topology>,
    options: CpuOptions,
    /// Never given out.
    reserved: CpuSet,
    file: PathBuf,
    /// What all share that have none of their own.
    shared: CpuSet,
    assigned: Assigned,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    policy_name: String,
    default_cpu_set: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: BTreeMap<String, BTreeMap<String, String>>,
    checksum: u64,
}

impl File {
    fn sum(&self) -> u64 {
        let entries = map(self
            .entries
            .iter()
            .map(|(pod, containers)| (pod, map(containers.iter().map(|(container, cpus)| (container, cpus.clone()))))));
        u64::from(fnv32a(&format!(
            "(*state.CPUManagerCheckpoint){{PolicyName:(string){} DefaultCPUSet:(string){} \
             Entries:(map[string]map[string]string){entries} Checksum:(checksum.Checksum)0}}",
            self.policy_name, self.default_cpu_set
        )))
    }
}

/// How many CPUs a container has for itself: with the Guaranteed class and a whole number of them.
pub fn exclusive(wanted: &Wanted, member: &Member) -> usize {
    if qos(wanted) != Qos::Guaranteed || wanted.spec().resources.is_some() || member.role == Role::Ephemeral {
        return 0;
    }
    let requests = member.spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let milli = requests.and_then(|requests| requests.get("cpu")).map_or(0, quantity::milli);
    if milli % 1000 == 0 { usize::try_from(milli / 1000).unwrap_or(0) } else { 0 }
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}

impl Cpus {
    /// The policy for a machine, with what a state file says. `reserved` names the CPUs that are never given out; without it
    /// there are as many as `reserved_milli` (thousandths) needs.
    pub fn open(
        machine: Arc<Topology>,
        options: CpuOptions,
        reserved: &CpuSet,
        reserved_milli: i64,
        directory: &Path,
    ) -> Result<Self, String> {
        if options.by_socket && machine.sockets() > machine.cpu_nodes() {
            return Err(
                "Align by socket is not compatible with hardware where number of sockets are more than number of \
                        NUMA"
                    .to_owned(),
            );
        }
        let count = if reserved.is_empty() { number(reserved_milli).div_ceil(1000) } else { reserved.len() };
        if count == 0 {
            let need = "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero";
            return Err(format!("[cpumanager] {need}"));
        }
        let file = directory.join(NAME);
        let (shared, assigned) = (CpuSet::default(), Assigned::new());
        let mut cpus = Self { machine, options, reserved: reserved.clone(), file, shared, assigned };
        if reserved.is_empty() {
            cpus.reserved = cpus.take(&cpus.machine.all(), count).unwrap_or_default();
        }
        if cpus.reserved.and(&cpus.machine.all()).len() != count {
            let reserved = &cpus.reserved;
            return Err(format!(
                "[cpumanager] unable to reserve the required amount of CPUs (size of {reserved} did not equal {count})"
            ));
        }
        cpus.restore()?;
        Ok(cpus)
    }

    /// Reads the state file and checks that it fits the machine and the options.
    fn restore(&mut self) -> Result<(), String> {
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let all = self.machine.all();
                self.shared = if self.options.strict { all.without(&self.reserved) } else { all };
                return self.save().map_err(|error| format!("{}: {error}", self.file.display()));
            }
            Err(error) => return Err(format!("{}: {error}", self.file.display())),
        };
        let advice = |why: String| unusable("CPU", &self.file, &why);
        let file: File = serde_json::from_slice(&text).map_err(|error| advice(error.to_string()))?;
        if file.checksum != 0 && file.checksum != file.sum() {
            return Err(advice("checkpoint is corrupted".to_owned()));
        }
        if file.policy_name != "static" {
            let name = file.policy_name;
            return Err(advice(format!("configured policy \"static\" differs from state checkpoint policy {name:?}")));
        }
        let shared: CpuSet = file.default_cpu_set.parse().map_err(&advice)?;
        let mut assigned = Assigned::new();
        for (pod, containers) in file.entries {
            for (container, cpus) in containers {
                let cpus = cpus.parse().map_err(&advice)?;
                assigned.entry(pod.clone()).or_default().insert(container, cpus);
            }
        }
        self.check(&shared, &assigned).map_err(&advice)?;
        (self.shared, self.assigned) = (shared, assigned);
        Ok(())
    }

    fn check(&self, shared: &CpuSet, assigned: &Assigned) -> Result<(), String> {
        let reserved = &self.reserved;
        if self.options.strict && !reserved.and(shared).is_empty() {
            return Err(format!(
                "some of strictly reserved cpus: \"{reserved}\" are present in defaultCpuSet: \"{shared}\""
            ));
        }
        if !self.options.strict && reserved.and(shared) != *reserved {
            return Err(format!("not all reserved cpus: \"{reserved}\" are present in defaultCpuSet: \"{shared}\""));
        }
        let mut known = if self.options.strict { shared.or(reserved) } else { shared.clone() };
        for (pod, containers) in assigned {
            for (container, cpus) in containers {
                if !cpus.and(shared).is_empty() {
                    return Err(format!(
                        "pod: {pod}, container: {container} cpuset: \"{cpus}\" overlaps with default cpuset \"{shared}\""
                    ));
                }
                known = known.or(cpus);
            }
        }
        let all = self.machine.all();
        match known == all {
            true => Ok(()),
            false => {
                Err(format!("current set of available CPUs \"{all}\" doesn't match with CPUs in state \"{known}\""))
            }
        }
    }

    fn save(&self) -> io::Result<()> {
        let texts = |containers: &BTreeMap<String, CpuSet>| {
            containers.iter().map(|(container, cpus)| (container.clone(), cpus.to_string())).collect()
        };
        let mut file = File {
            policy_name: "static".to_owned(),
            default_cpu_set: self.shared.to_string(),
            entries: self.assigned.iter().map(|(pod, containers)| (pod.clone(), texts(containers))).collect(),
            checksum: 0,
        };
        file.checksum = file.sum();
        replace_file(&self.file, &serde_json::to_vec(&file)?)
    }

    fn save_or_warn(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "which container has which CPUs was not written down");
        }
    }

    fn take(&self, free: &CpuSet, count: usize) -> Result<CpuSet, String> {
        match self.options.distribute {
            true => {
                let group = if self.options.full_cores { self.machine.cpus_per_core() } else { 1 };
                take::distributed(&self.machine, free, count, group)
            }
            false => take::packed(&self.machine, free, count),
        }
    }

    fn available(&self) -> CpuSet {
        self.shared.without(&self.reserved)
    }

    /// How many CPUs the pod has for itself at one time.
    fn of_pod(wanted: &Wanted) -> usize {
        number(over_time(wanted, &|member| i64::try_from(exclusive(wanted, member)).unwrap_or(0)))
    }

    /// From which NUMA nodes the CPUs can come: of a container, or of the whole pod. Nothing for those that share CPUs.
    pub fn hints(&self, wanted: &Wanted, member: Option<&Member>, reusable: &CpuSet) -> Hints {
        let count = member.map_or_else(|| Self::of_pod(wanted), |member| exclusive(wanted, member));
        if count == 0 {
            return Hints::new();
        }
        let nodes = self.machine.nodes();
        let in_mask = |mask: Mask| self.machine.cpus_where(|cpu| mask.has(cpu.node));
        let (available, mut least, mut masks) = (self.available().or(reusable), nodes.len(), Vec::new());
        for mask in Mask::all_of(&nodes) {
            let cpus = in_mask(mask);
            if cpus.len() >= count {
                least = least.min(mask.count());
            }
            if reusable.and(&cpus) == *reusable && available.and(&cpus).len() >= count {
                masks.push(mask);
            }
        }
        let mut hints = Hint::among(masks, least);
        if self.options.by_socket {
            hints.iter_mut().for_each(|hint| hint.preferred |= self.is_by_socket(hint, least));
        }
        [("cpu".to_owned(), Some(hints))].into()
    }

    /// Whether the nodes lie on as few sockets as can be.
    fn is_by_socket(&self, hint: &Hint, least: usize) -> bool {
        let per_socket = self.machine.cpu_nodes() / self.machine.sockets();
        per_socket > 0 && hint.affinity.is_some_and(|mask| self.sockets(mask).len() == least.div_ceil(per_socket))
    }

    fn sockets(&self, mask: Mask) -> Vec<usize> {
        let mut sockets: Vec<usize> =
            self.machine.cpus.values().filter(|cpu| mask.has(cpu.node)).map(|cpu| cpu.socket).collect();
        sockets.sort_unstable();
        sockets.dedup();
        sockets
    }

    /// Gives a container the CPUs that it has for itself. `reusable` are those of init containers before it.
    pub fn allocate(
        &mut self,
        wanted: &Wanted,
        member: &Member,
        reusable: &mut CpuSet,
        affinity: Option<Mask>,
    ) -> Result<(), Refusal> {
        let count = exclusive(wanted, member);
        if count == 0 {
            return Ok(());
        }
        self.check_cores(count, reusable)?;
        let free = self.available().or(reusable);
        let cpus = self.choose(&free, count, affinity).map_err(super::unexpected)?;
        self.shared = self.shared.without(&cpus);
        *reusable = if member.role == Role::Init { reusable.or(&cpus) } else { reusable.without(&cpus) };
        self.assigned.entry(wanted.uid().to_owned()).or_default().insert(member.name().to_owned(), cpus);
        self.save_or_warn();
        Ok(())
    }

    fn choose(&self, free: &CpuSet, count: usize, affinity: Option<Mask>) -> Result<CpuSet, String> {
        let aligned = match affinity {
            None => CpuSet::default(),
            Some(mask) => {
                let sockets = self.sockets(mask);
                let by_socket = self.options.by_socket;
                let near = self
                    .machine
                    .cpus_where(|cpu| if by_socket { sockets.contains(&cpu.socket) } else { mask.has(cpu.node) });
                let near = near.and(free);
                self.take(&near, count.min(near.len()))?
            }
        };
        let rest = self.take(&free.without(&aligned), count - aligned.len())?;
        Ok(aligned.or(&rest))
    }

    /// With `full-pcpus-only` a container gets whole cores, none of them shared with reserved CPUs.
    fn check_cores(&self, count: usize, reusable: &CpuSet) -> Result<(), Refusal> {
        if !self.options.full_cores {
            return Ok(());
        }
        let per_core = self.machine.cpus_per_core();
        let refused = |why: String| Err(("SMTAlignmentError".to_owned(), format!("SMT Alignment Error: {why}")));
        if !count.is_multiple_of(per_core) {
            return refused(format!("requested {count} cpus not multiple cpus per core = {per_core}"));
        }
        let cores: Vec<usize> =
            self.reserved.0.iter().filter_map(|cpu| self.machine.cpus.get(cpu)).map(|cpu| cpu.core).collect();
        let whole = self.shared.without(&self.machine.cpus_where(|cpu| cores.contains(&cpu.core))).or(reusable).len();
        if count > whole {
            return refused(format!(
                "not enough free physical CPUs: available physical CPUs = {whole}, requested CPUs = {count}, CPUs per \
                 core = {per_core}"
            ));
        }
        Ok(())
    }

    /// Takes a pod's CPUs back. Whether it had any.
    pub fn release(&mut self, uid: &str) -> bool {
        let Some(containers) = self.assigned.remove(uid) else { return false };
        for cpus in containers.values() {
            self.shared = self.shared.or(cpus);
        }
        self.save_or_warn();
        true
    }

    /// The pods that have CPUs.
    pub fn holders(&self) -> Vec<String> {
        self.assigned.keys().cloned().collect()
    }

    /// The CPUs that a container has for itself.
    pub fn own(&self, uid: &str, container: &str) -> Option<&CpuSet> {
        self.assigned.get(uid)?.get(container)
    }

    /// The CPUs on which a container may run.
    pub fn of(&self, uid: &str, container: &str) -> &CpuSet {
        self.own(uid, container).unwrap_or(&self.shared)
    }

    /// All CPUs that can be given out.
    pub fn allocatable(&self) -> CpuSet {
        self.machine.all().without(&self.reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;
    use crate::managers::machine::tests::machine;

    fn asking(uid: &str, cpus: &str) -> Arc<Wanted> {
        let resources = format!(r#"{{"cpu":"{cpus}","memory":"1Mi"}}"#);
        let resources = format!(r#"{{"requests":{resources},"limits":{resources}}}"#);
        pod(uid, &format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#))
    }

    fn open(machine: &Arc<Topology>, options: &str, reserved: &str, directory: &Path) -> Result<Cpus, String> {
        Cpus::open(machine.clone(), options.parse()?, &reserved.parse()?, 1, directory)
    }

    fn give(cpus: &mut Cpus, wanted: &Wanted, affinity: Option<Mask>) -> Result<String, String> {
        let given = cpus.allocate(wanted, &wanted.members[0], &mut CpuSet::default(), affinity);
        given
            .map(|()| cpus.of(wanted.uid(), "a").to_string())
            .map_err(|(reason, message)| format!("{reason}: {message}"))
    }

    #[test]
    fn guaranteed_pods_get_whole_cpus() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Arc::new(machine(1, 1, 4, 2, 1024));
        let mut cpus = open(&machine, "", "0", directory.path()).unwrap();
        for (uid, amount, wanted) in [
            ("half", "500m", Ok("0-7")),
            ("two", "2", Ok("1,5")),
            ("one", "1", Ok("4")),
            ("late", "1500m", Ok("0,2-3,6-7")),
            (
                "many",
                "5",
                Err(
                    "UnexpectedAdmissionError: Allocate failed due to not enough cpus available to satisfy request, which is \
                     unexpected",
                ),
            ),
        ] {
            let got = give(&mut cpus, &asking(uid, amount), None);
            assert_eq!(got, wanted.map(str::to_owned).map_err(str::to_owned), "{uid}");
        }
        let again = open(&machine, "", "0", directory.path()).unwrap();
        assert_eq!(again.of("two", "a").to_string(), "1,5");
        assert_eq!(again.of("half", "a").to_string(), "0,2-3,6-7");
        assert!(cpus.release("two") && !cpus.release("two"));
        assert_eq!(cpus.of("half", "a").to_string(), "0-3,5-7");
        assert_eq!(cpus.allocatable().to_string(), "1-7");
    }

    #[test]
    fn options_are_obeyed() {
        let directory = tempfile::tempdir().unwrap();
        let small = Arc::new(machine(1, 1, 4, 2, 1024));
        let mut full = open(&small, "full-pcpus-only=true", "0", directory.path()).unwrap();
        let odd = "SMTAlignmentError: SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2";
        assert_eq!(give(&mut full, &asking("odd", "3"), None), Err(odd.to_owned()));
        assert_eq!(give(&mut full, &asking("all", "6"), None), Ok("1-3,5-7".to_owned()));
        let none = "SMTAlignmentError: SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 0, \
                    requested CPUs = 2, CPUs per core = 2";
        assert_eq!(give(&mut full, &asking("more", "2"), None), Err(none.to_owned()));
        let directory = tempfile::tempdir().unwrap();
        let strict = open(&small, "strict-cpu-reservation=true", "0", directory.path()).unwrap();
        assert_eq!(strict.of("x", "a").to_string(), "1-7");
        let error = open(&small, "", "0", directory.path()).err().unwrap();
        assert!(error.contains("not all reserved cpus: \"0\" are present in defaultCpuSet: \"1-7\""), "{error}");
        assert_eq!("x=true".parse::<CpuOptions>(), Err("unknown CPU Manager Policy option: \"x\"".to_owned()));
    }

    #[test]
    fn hints_and_affinity_name_nodes() {
        let directory = tempfile::tempdir().unwrap();
        let two = Arc::new(machine(2, 2, 4, 2, 1024));
        let mut cpus = open(&two, "", "0", directory.path()).unwrap();
        let shown = |hints: Hints| -> Vec<(Vec<usize>, bool)> {
            let list = hints.into_values().next().flatten().unwrap_or_default();
            list.into_iter().map(|hint| (hint.affinity.unwrap().nodes(), hint.preferred)).collect()
        };
        let (two, four) = (asking("two", "2"), asking("four", "4"));
        let of = |cpus: &Cpus, wanted: &Wanted| shown(cpus.hints(wanted, Some(&wanted.members[0]), &CpuSet::default()));
        assert_eq!(of(&cpus, &two), [(vec![0], true), (vec![1], true), (vec![0, 1], false)]);
        assert_eq!(of(&cpus, &four), [(vec![1], true), (vec![0, 1], false)]);
        assert_eq!(of(&cpus, &asking("some", "1500m")), []);
        assert_eq!(give(&mut cpus, &two, Some(Mask::of([1]))), Ok("2,6".to_owned()));
        assert_eq!(of(&cpus, &four), [(vec![0, 1], false)]);
    }

    /// The checksums are those of upstream's own tests.
    #[test]
    fn the_state_file_is_upstreams() {
        let file = |text: &str| serde_json::from_str::<File>(text).unwrap();
        let empty = file(r#"{"policyName":"none","defaultCpuSet":"4-6","entries":{},"checksum":354655845}"#);
        assert_eq!(empty.sum(), empty.checksum);
        let text = r#"{"policyName":"none","defaultCpuSet":"1-3","entries":{"pod":{"container1":"4-6","container2":"1-3"}},
            "checksum":3610638499}"#;
        assert_eq!(file(text).sum(), file(text).checksum);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), text).unwrap();
        let machine = Arc::new(machine(1, 1, 4, 2, 1024));
        let error = open(&machine, "", "0", directory.path()).err().unwrap();
        assert!(error.contains(r#"configured policy "static" differs from state checkpoint policy "none""#), "{error}");
    }
}

//! The cores this process may use, and which of them share memory.
//!
//! A thread is never tied to one core: when another process takes that core, the scheduler must be free to move us. On
//! a machine with several NUMA nodes a worker keeps to one node's cores, all that the process was allowed there.
//! Where the system does not tell, nothing is tied at all.

#[cfg(target_os = "linux")]
pub(crate) use linux::{allowed_cores, current_cpu, places};

#[cfg(not(target_os = "linux"))]
pub(crate) use other::{allowed_cores, current_cpu, places};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::path::Path;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    const SYSTEM: &str = "/sys/devices/system";

    /// Where a worker may run.
    pub(crate) struct Place(CpuSet);

    impl Place {
        /// Confines the calling thread. A refusal changes nothing but speed.
        pub(crate) fn take(&self) {
            let _ = sched_setaffinity(None, &self.0);
        }
    }

    /// The processor that the calling thread runs on just now.
    pub(crate) fn current_cpu() -> Option<u32> {
        u32::try_from(sched_getcpu()).ok()
    }

    /// Physical cores that this process may use: by its affinity mask and its cgroup's quota.
    pub(crate) fn allowed_cores() -> usize {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        match allowed() {
            Some(allowed) => parallelism.min(cores(&allowed, Path::new(SYSTEM)).len()).max(1),
            None => parallelism,
        }
    }

    /// For each of `threads`, the caller first, the node to keep to; none where there is but one node.
    pub(crate) fn places(threads: usize) -> impl Iterator<Item = Option<Place>> {
        let nodes = allowed().map_or_else(Vec::new, |allowed| {
            by_node(&allowed, Path::new(SYSTEM), sched_getcpu())
        });
        (0..threads).map(move |thread| {
            let cores = nodes.iter().map(|(_, cores)| cores).sum::<usize>();
            let mut core = thread.checked_rem(cores)?;
            let (cpus, _) = nodes.iter().find(|(_, cores)| {
                let here = core < *cores;
                core = core.saturating_sub(*cores);
                here
            })?;
            let mut set = CpuSet::new();
            cpus.iter().for_each(|&cpu| set.set(cpu));
            Some(Place(set))
        })
    }

    fn allowed() -> Option<BTreeSet<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
    }

    /// The first processor of each core that has an allowed one. Without topology every processor counts as a core.
    fn cores(allowed: &BTreeSet<usize>, system: &Path) -> BTreeSet<usize> {
        let first_sibling = |cpu: usize| {
            let list = system.join(format!("cpu/cpu{cpu}/topology/thread_siblings_list"));
            let siblings = cpu_list(&std::fs::read_to_string(list).ok()?)?;
            siblings.into_iter().find(|sibling| allowed.contains(sibling))
        };
        allowed
            .iter()
            .map(|&cpu| first_sibling(cpu).unwrap_or(cpu))
            .collect()
    }

    /// Each node's allowed processors and how many cores they are, the node of processor `first` first. Empty where
    /// there is one node, or no word about nodes.
    fn by_node(allowed: &BTreeSet<usize>, system: &Path, first: usize) -> Vec<(BTreeSet<usize>, usize)> {
        let online = std::fs::read_to_string(system.join("node/online"));
        let Some(ids) = online.ok().and_then(|list| cpu_list(&list)) else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        for id in ids {
            let list = std::fs::read_to_string(system.join(format!("node/node{id}/cpulist")));
            let Some(cpus) = list.ok().and_then(|list| cpu_list(&list)) else {
                return Vec::new();
            };
            let cpus: BTreeSet<usize> = cpus.intersection(allowed).copied().collect();
            if !cpus.is_empty() {
                let cores = cores(&cpus, system).len();
                nodes.push((cpus, cores));
            }
        }
        if nodes.len() < 2 {
            return Vec::new();
        }
        let own = nodes.iter().position(|(cpus, _)| cpus.contains(&first));
        nodes.rotate_left(own.unwrap_or(0));
        nodes
    }

    /// The kernel's list format, `0-3,8`.
    fn cpu_list(list: &str) -> Option<BTreeSet<usize>> {
        let mut cpus = BTreeSet::new();
        for range in list.trim().split(',').filter(|range| !range.is_empty()) {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            cpus.extend(from.parse().ok()?..=to.parse::<usize>().ok()?);
        }
        Some(cpus)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lists_of_processors() {
            let list = |text| cpu_list(text).map(|cpus| cpus.into_iter().collect::<Vec<_>>());
            assert_eq!(list("0-2,5,7-8\n"), Some(vec![0, 1, 2, 5, 7, 8]));
            assert_eq!(list("\n"), Some(vec![]));
            assert_eq!(list("a-b"), None);
        }

        /// Two nodes of two cores with two threads each, processors numbered as Linux does.
        #[test]
        fn a_machine_with_two_nodes() {
            let system = std::env::temp_dir().join(format!("fathom-cores-{}", std::process::id()));
            let write = |path: String, text: &str| {
                let path = system.join(path);
                std::fs::create_dir_all(path.parent().expect("has a parent")).expect("can write");
                std::fs::write(path, text).expect("can write");
            };
            for cpu in 0..8 {
                let siblings = format!("{},{}", cpu % 4, cpu % 4 + 4);
                write(format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &siblings);
            }
            write("node/online".into(), "0-1");
            write("node/node0/cpulist".into(), "0-1,4-5");
            write("node/node1/cpulist".into(), "2-3,6-7");
            let all: BTreeSet<usize> = (0..8).collect();
            assert_eq!(cores(&all, &system).len(), 4);
            let nodes = by_node(&all, &system, 6);
            assert_eq!(nodes, [([2, 3, 6, 7].into(), 2), ([0, 1, 4, 5].into(), 2)]);
            // A process that was started on part of the machine keeps to that part.
            assert_eq!(cores(&[1, 5, 2].into(), &system).len(), 2);
            assert_eq!(
                by_node(&[1, 5, 2].into(), &system, 1),
                [([1, 5].into(), 1), ([2].into(), 1)]
            );
            assert!(by_node(&[1, 5].into(), &system, 1).is_empty());
            std::fs::remove_dir_all(&system).expect("was written above");
            assert_eq!(cores(&all, &system).len(), 8);
            assert!(by_node(&all, &system, 0).is_empty());
        }

        #[test]
        fn this_machine_has_a_core() {
            assert!(allowed_cores() >= 1);
            assert_eq!(places(3).count(), 3);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Where a worker may run.
    pub(crate) enum Place {}

    impl Place {
        pub(crate) fn take(&self) {
            match *self {}
        }
    }

    /// Not known here.
    pub(crate) fn current_cpu() -> Option<u32> {
        None
    }

    /// Processors that this process may use.
    pub(crate) fn allowed_cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Nothing is tied.
    pub(crate) fn places(threads: usize) -> impl Iterator<Item = Option<Place>> {
        (0..threads).map(|_| None)
    }
}

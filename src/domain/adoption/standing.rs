//! How the kernel runs a process: what `nice`, `taskset`, `chrt` and `numactl` set before they become the server, so that
//! its command line does not show it.

/// The terms on which a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// From -20 to 19; 0 is usual.
    pub nice: i64,
    /// The scheduling policy; 0 is usual.
    pub policy: u32,
    /// The CPUs that it may use, as first and last of each range.
    pub cpus: Vec<(u32, u32)>,
    /// The NUMA policy of its memory: `default`, `bind:0`.
    pub memory: String,
}

impl Standing {
    /// The terms that differ from the `usual` ones, in words.
    pub fn beyond(&self, usual: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.nice != usual.nice {
            found.push(format!("a nice value of {}", self.nice));
        }
        if self.policy != usual.policy {
            let names = ["other", "fifo", "rr", "batch", "iso", "idle", "deadline"];
            let name = usize::try_from(self.policy).ok().and_then(|policy| names.get(policy));
            found.push(format!("the scheduling policy `{}`", name.unwrap_or(&"unknown")));
        }
        if self.cpus != usual.cpus {
            let ranges = self.cpus.iter().map(|(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            });
            found.push(format!("the CPUs {} alone", ranges.collect::<Vec<_>>().join(",")));
        }
        if self.memory != usual.memory {
            found.push(format!("the NUMA policy `{}`", self.memory));
        }
        found
    }
}

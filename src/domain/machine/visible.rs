//! Finds the GPUs of its host that a service may use, by the variables that CUDA reads.

use super::facts::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// The variable that names the GPUs which a process sees, by number or by UUID.
pub const DEVICES: &str = "CUDA_VISIBLE_DEVICES";
/// The variable that orders the numbers: CUDA's own order begins with the fastest.
pub const ORDER: &str = "CUDA_DEVICE_ORDER";
/// The order of the bus, which is that of NVML and of `nvidia-smi`.
pub const BY_BUS: &str = "PCI_BUS_ID";

/// The GPUs that nobody else may use at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// All of them, or unknown ones.
    Host,
    /// These, by NVML's numbers.
    Gpus(BTreeSet<u32>),
}

/// How a value of [`DEVICES`] names GPUs.
enum Named<'a> {
    ByNumber(Vec<u32>),
    ByUuid(Vec<&'a str>),
    /// Instances of GPUs, none at all, or a mixture.
    Otherwise,
}

impl Claim {
    /// The GPUs that an engine with these variables may use. `number` finds the number of the GPU of a UUID.
    pub fn of(environment: &BTreeMap<String, String>, number: impl Fn(&str) -> Option<u32>) -> Self {
        let Some(devices) = environment.get(DEVICES) else { return Self::Host };
        let by_bus = environment.get(ORDER).is_some_and(|order| order == BY_BUS);
        let numbers = match Named::of(devices) {
            Named::ByNumber(numbers) if by_bus => Some(numbers),
            Named::ByUuid(uuids) => uuids.into_iter().map(number).collect(),
            Named::ByNumber(_) | Named::Otherwise => None,
        };
        numbers.map_or(Self::Host, |numbers| Self::Gpus(numbers.into_iter().collect()))
    }

    /// The GPUs that both may use.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gpus(ours), Self::Gpus(theirs)) => Self::Gpus(&ours | &theirs),
            _ => Self::Host,
        }
    }
}

impl<'a> Named<'a> {
    fn of(devices: &'a str) -> Self {
        let words: Vec<_> = devices.split(',').map(str::trim).collect();
        if let Ok(numbers) = words.iter().map(|word| word.parse()).collect() {
            return Self::ByNumber(numbers);
        }
        if words.iter().all(|word| word.starts_with("GPU-")) { Self::ByUuid(words) } else { Self::Otherwise }
    }
}

impl Facts {
    /// The host as an engine with these variables sees it. A UUID that the facts do not know stands for the next GPU that
    /// is not named. What cannot be understood hides none.
    #[must_use]
    pub fn visible(&self, environment: &BTreeMap<String, String>) -> Self {
        let Some(devices) = environment.get(DEVICES) else { return self.clone() };
        let words: Vec<_> = devices.split(',').map(str::trim).collect();
        let known = |word: &&str| word.is_empty() || word.parse::<i64>().is_ok() || word.starts_with("GPU-");
        if !words.iter().all(known) && !["NoDevFiles", "none", "void"].contains(&devices.as_str()) {
            return self.clone();
        }
        let mut order: Vec<usize> = (0..self.gpus.len()).collect();
        if environment.get(ORDER).is_some_and(|order| order == "FASTEST_FIRST") {
            // CUDA does not say how it ranks them.
            let rank = |index: &usize| (self.gpus[*index].compute_capability, self.gpus[*index].memory_total);
            order.sort_by_key(|index| std::cmp::Reverse(rank(index)));
        }
        let mut seen: Vec<usize> = Vec::new();
        for word in words {
            let by_uuid = |index: &usize| {
                let uuid = self.gpus[*index].uuid.as_deref();
                uuid.is_some_and(|uuid| uuid.starts_with(word))
            };
            let found = match word.parse::<usize>() {
                Ok(number) => order.get(number).copied(),
                Err(_) if word.starts_with("GPU-") => order.iter().copied().find(by_uuid).or_else(|| {
                    order
                        .iter()
                        .copied()
                        .find(|index| self.gpus[*index].uuid.is_none() && !seen.contains(index))
                }),
                Err(_) => None,
            };
            // CUDA stops at the first that is not there.
            let Some(found) = found else { break };
            seen.push(found);
        }
        Self { gpus: seen.into_iter().map(|index| self.gpus[index].clone()).collect(), ..self.clone() }
    }
}

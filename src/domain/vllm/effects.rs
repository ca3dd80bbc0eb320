//! Says what each flag of `vllm serve` changes, of all that a plan decides or a validation asks.

const TABLE: &str = include_str!("known/vllm-flag-effects.txt");

/// The thing that a flag changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// A key of the profile stands for it.
    Planned,
    /// VRAM or RAM.
    Memory,
    /// How many processes and GPUs the model is spread over.
    Ranks,
    /// How fast it is.
    Speed,
    /// The requests and answers of clients.
    Api,
    /// Nothing of these.
    Nothing,
}

/// The heed that a plan takes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Counted by the plan.
    Counted,
    /// A profile that has it is refused, or a plan.
    Refused,
    /// A finding names it.
    Told,
    /// Nothing.
    Passed,
}

/// One flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name: `--enforce-eager`.
    pub name: &'static str,
    /// The thing that it changes.
    pub effect: Effect,
    /// The heed that a plan takes of it.
    pub heed: Heed,
}

impl Row {
    /// Whether it changes memory, and nobody counts how.
    pub(crate) fn is_uncounted_memory(&self) -> bool {
        self.effect == Effect::Memory && self.heed == Heed::Told
    }
}

impl Effect {
    const NAMES: [(&'static str, Self); 6] = [
        ("planned", Self::Planned),
        ("memory", Self::Memory),
        ("ranks", Self::Ranks),
        ("speed", Self::Speed),
        ("api", Self::Api),
        ("nothing", Self::Nothing),
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, effect)| *effect == self).map_or("", |(name, _)| name)
    }
}

impl Heed {
    const NAMES: [(&'static str, Self); 4] = [
        ("counted", Self::Counted),
        ("refused", Self::Refused),
        ("told", Self::Told),
        ("passed", Self::Passed),
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, heed)| *heed == self).map_or("", |(name, _)| name)
    }
}

/// All flags of all versions that are known, in the table's order. A line that cannot be read is left out; a test holds
/// that there is none.
pub fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().filter(|line| line.starts_with('-')).filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let (effect, heed) = (words.next()?, words.next()?);
        Some(Row {
            name,
            effect: Effect::NAMES.iter().find(|(known, _)| *known == effect)?.1,
            heed: Heed::NAMES.iter().find(|(known, _)| *known == heed)?.1,
        })
    })
}

/// The row of this flag, or of the one that it negates.
pub fn of(flag: &str) -> Option<Row> {
    let positive = flag.strip_prefix("--no-").map(|rest| format!("--{rest}"));
    rows().find(|row| row.name == flag || Some(row.name) == positive.as_deref())
}

//! Records that are damaged, and a disk that is full: each concerns itself, and nothing that comes after it.

use crate::{
    scratch::tempdir,
    stand::{NEW, OLD, Stand, patiently},
};
use awqdeploy::{
    domain::{
        activation::{
            journal::{self as lines, Reading},
            machine::{Activation, Cause, Conclusion, End, State, Step},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        problem::Problem,
        service::unit::Unit,
        store::layout::Layout,
    },
    flow::{
        activation::driver::{ResumePolicy, is_unfinished},
        deploy::rollback::{Target, rollback},
        inspect::status::status,
    },
    host::{
        store::{
            Store,
            journal::{self, Journal},
        },
        systemd::unit_folder::UnitFolder,
    },
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);
/// Set for the process that plays on a full disk.
const FULL: &str = "AWQDEPLOY_TEST_FULL_DISK";

fn story() -> Vec<Activation> {
    let mut activation = Activation::new(Some(ONE), TWO);
    let mut states = vec![activation.clone()];
    for _ in 0..4 {
        activation = activation.after(Ok(()));
        states.push(activation.clone());
    }
    states
}

fn written(directory: &Path, states: &[Activation]) -> Vec<u8> {
    let mut journal = Journal::open(directory).unwrap();
    for state in states {
        journal.record(state).unwrap();
    }
    fs::read(directory.join(journal::NAME)).unwrap()
}

/// Any byte of a journal is overwritten: all other lines are read, and what is read last is never better than what was
/// written.
#[test]
fn a_damaged_byte_costs_its_line() {
    let folder = tempdir().unwrap();
    let states = story();
    let text = written(folder.path(), &states);
    let line_of = |at: usize| text[..at].split(|byte| *byte == b'\n').count() - 1;
    for at in 0..text.len() {
        for byte in [0, b'x', 0xff] {
            let mut damaged = text.clone();
            damaged[at] = byte;
            let Reading { entries, damaged } = lines::read(&damaged);
            let read: Vec<_> = entries.iter().map(|entry| &entry.activation).collect();
            for (number, state) in states.iter().enumerate() {
                let whole = number != line_of(at) && !(text[at] == b'\n' && number == line_of(at) + 1);
                assert!(!whole || read.contains(&state), "line {number}, byte {at}");
            }
            if !damaged.is_empty() && line_of(at) == states.len() - 1 {
                assert_eq!(read.last().unwrap().state, State::Forward { step: Step::Validate }, "byte {at}");
            }
        }
    }
}

#[test]
fn what_may_have_been_taken_back_is_not_kept() {
    let back = |cause| State::Back { step: Step::Stop, tries: 0, cause };
    let lost = |activation: &Activation| activation.clone().with_lost_records().state;
    let committed = story().pop().unwrap();
    assert!(matches!(lost(&committed), State::Back { cause: Cause::Degraded { .. }, .. }));
    let first = Activation { from: None, ..committed.clone() };
    assert_eq!(lost(&first), committed.state, "nothing ever follows the first commit");
    let cause = Cause::Interrupted { step: Step::Start };
    let end = End::Stuck { cause: cause.clone(), step: Step::Stop, why: "no".to_owned() };
    assert_eq!(lost(&Activation { state: State::Done { end }, ..first.clone() }), back(cause.clone()));
    for state in [
        State::Forward { step: Step::Start },
        back(cause.clone()),
        State::Done { end: End::RolledBack { cause } },
    ] {
        assert_eq!(lost(&Activation { state: state.clone(), ..first.clone() }), state);
    }
}

/// A journal that cannot be written whole: the disk is full in the middle of a line, and has room again later.
#[test]
fn a_full_disk_tears_nothing() {
    if std::env::var_os(FULL).is_some() {
        return on_a_full_disk();
    }
    let test = std::env::current_exe().unwrap();
    // A file may not grow beyond a limit, as on a disk that is full; the signal for that is ignored.
    let script = format!(
        "trap '' XFSZ; {FULL}=1 exec \"$0\" --exact activation::records::a_full_disk_tears_nothing --nocapture"
    );
    let output = Command::new("sh").args(["-c", &script]).arg(test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn on_a_full_disk() {
    let states = story();
    let whole = written(tempdir().unwrap().path(), &states).len();
    // A time that ends with zeros is written without them.
    let surely_too_little = (whole - states.len() * ".123456789".len()) as u64;
    let all = getrlimit(Resource::Fsize);
    for limit in (0..surely_too_little).step_by(7) {
        let folder = tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let mut kept = Vec::new();
        setrlimit(Resource::Fsize, Rlimit { current: Some(limit), ..all }).unwrap();
        for state in &states {
            if journal.record(state).is_ok() {
                kept.push(state.clone());
            }
        }
        assert!(kept.len() < states.len(), "the disk was full at {limit}");
        setrlimit(Resource::Fsize, all).unwrap();
        let back = states[2].clone().resumed();
        journal.record(&back).unwrap();
        kept.push(back);
        let Reading { entries, damaged } = journal::read(folder.path()).unwrap();
        let read: Vec<_> = entries.into_iter().map(|entry| entry.activation).collect();
        assert_eq!((read, damaged), (kept, Vec::new()), "full at {limit}");
    }
}

fn record(store: &Store, to: GenerationId, states: &[Activation]) -> u64 {
    let writer = patiently(|| store.writer(std::time::Duration::ZERO, "test")).unwrap();
    fs::create_dir_all(store.layout().generation(to)).unwrap();
    let number = writer.order(&ActivationRequest { action: Action::Deploy, to }).unwrap();
    let mut journal = writer.journal(number).unwrap();
    for state in states {
        journal.record(state).unwrap();
    }
    number
}

/// No UTF-8 any more.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len().min(4) - 1;
    bytes[at] = 0xff;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_journal_proves_nothing_and_disproves_nobody_else() {
    let root = tempdir().unwrap();
    let store = Store::new(Layout::new(root.path()));
    let committed =
        |to| Activation { state: State::Done { end: End::Committed }, ..Activation::new(None, to) };
    let first = record(&store, ONE, &[committed(ONE)]);
    let second = record(&store, TWO, &[committed(TWO)]);
    spoil(&store.layout().activation(second).join(journal::NAME));
    assert_eq!(store.known_good().unwrap(), BTreeSet::from([ONE]));
    let journals = store.damages().unwrap().iter().filter(|damaged| damaged.contains(journal::NAME)).count();
    assert_eq!(journals, 1);
    // Its service is not refused for a record that might say so.
    assert!(!store.is_not_known_good(TWO).unwrap() && store.is_not_known_good(GenerationId(3)).unwrap());
    assert!(is_unfinished(&store, ResumePolicy::Finish).unwrap(), "there is something proven to go back to");
    spoil(&store.layout().activation(second).join("order.json"));
    assert!(!is_unfinished(&store, ResumePolicy::Finish).unwrap(), "what it was about is not known");
    assert!(!store.is_not_known_good(GenerationId(3)).unwrap());
    spoil(&store.layout().activation(first).join(journal::NAME));
    assert_eq!(store.known_good().unwrap(), BTreeSet::new());
    assert_eq!(store.newest_order().unwrap(), Some(second), "it was ordered, whatever it says");
}

/// Each record of the first generation in turn, while the third serves: what is healthy is reached all the same.
#[test]
fn a_damaged_record_keeps_nobody_from_anything_else() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    stand.deploy(OLD).unwrap();
    let layout = stand.context.layout().clone();
    let (generation, activation) = (layout.generation(ONE), layout.activation(1));
    fs::write(generation.join("adopted.json"), "{   }").unwrap();
    let records = [
        generation.join("generation.json"),
        generation.join("adopted.json"),
        activation.join("order.json"),
        activation.join(journal::NAME),
        activation.join("report.json"),
    ];
    for (round, path) in records.iter().enumerate() {
        let whole = fs::read(path).unwrap();
        spoil(path);
        let told = status(&mut stand.context).unwrap().damaged;
        let named = format!("`{}`", path.display());
        assert!(told.iter().any(|damaged| damaged.contains(&named)), "{named}: {told:?}");
        let to = [GenerationId(2), GenerationId(3)][round % 2];
        let outcome = go(&mut stand, to).unwrap_or_else(|problem| panic!("{named}: {problem}"));
        assert_eq!(outcome, Conclusion::Done, "{named}");
        stand.serves(if to == TWO { NEW } else { OLD });
        assert!(stand.recover().is_none());
        fs::write(path, whole).unwrap();
    }
    // The current one, too: it can be left.
    spoil(&layout.generation(TWO).join("generation.json"));
    assert_eq!(go(&mut stand, GenerationId(3)).unwrap(), Conclusion::Done);
    stand.serves(OLD);
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
    stand.serves(NEW);
}

/// A note on all generations together is worth less than any of them.
#[test]
fn a_damaged_cache_or_note_is_begun_anew() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    let root = stand.context.layout().root().to_owned();
    let notes =
        ["lock", "store/memo.json", "store/trees.json", "store/damaged.json"].map(|name| root.join(name));
    for (round, path) in notes.iter().enumerate() {
        if !path.exists() {
            fs::write(path, "{}").unwrap();
        }
        spoil(path);
        status(&mut stand.context).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        let to = [ONE, TWO][round % 2];
        let outcome = go(&mut stand, to).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        assert_eq!(outcome, Conclusion::Done, "{}", path.display());
        stand.serves(if to == TWO { NEW } else { OLD });
    }
    // The unit's text, which another program left half-written.
    let folder = tempdir().unwrap();
    let units = UnitFolder::at(folder.path(), &folder.path().join("control"));
    let unit = |text: String| Unit { name: "vllm.service".to_owned(), text, replaces: None };
    let ours = stand.context.store.generation(ONE).unwrap().plan.unit;
    assert!(units.place(&[unit(ours.clone())]).unwrap());
    let path = folder.path().join("vllm.service");
    fs::write(&path, [ours.as_bytes(), b"\xff"].concat()).unwrap();
    units.claim(&[unit(ours.clone())]).unwrap();
    assert!(units.place(&[unit(ours.clone())]).unwrap());
    assert_eq!(fs::read_to_string(path).unwrap(), ours);
}

fn go(stand: &mut Stand, to: GenerationId) -> Result<Conclusion, Problem> {
    let outcome = patiently(|| rollback(&mut stand.context, &Target::Generation(to)));
    outcome.map(|outcome| outcome.conclusion())
}

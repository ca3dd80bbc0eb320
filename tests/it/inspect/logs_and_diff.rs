//! `logs` and `diff`: looking closer at generations, on a throw-away host.

use crate::stand::{NEW, Stand};
use awqdeploy::{
    domain::{
        activation::{
            journal::{Entry, Period, outage, plain_restart, served},
            machine::{Activation, Conclusion},
        },
        generation::diff::Change,
        generation_id::GenerationId,
        problem::Kind,
    },
    flow::inspect::{
        diff::difference,
        logs::{Source, logs},
    },
    host::systemd::service::Lines,
};

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);
const NONE: [&[Entry]; 0] = [];

fn lines(stand: &mut Stand, id: Option<GenerationId>, wanted: Lines) -> Result<(Source, Vec<String>), Kind> {
    let mut said = Vec::new();
    let told = logs(&mut stand.context, id, wanted, &mut |line| said.push(line.to_owned()));
    told.map(|(_, source)| (source, said)).map_err(|problem| problem.kind)
}

#[test]
fn the_log_of_what_serves_and_of_what_failed() {
    let mut stand = Stand::serving();
    let (source, said) = lines(&mut stand, None, Lines::Last(1000)).unwrap();
    assert_eq!(source, Source::ServiceManager);
    assert!(said.iter().any(|line| line.contains("Application startup complete")), "{said:#?}");
    let (_, last) = lines(&mut stand, Some(ONE), Lines::Last(2)).unwrap();
    assert_eq!(last, said[said.len() - 2..]);

    stand.write_profile(
        NEW,
        "[vllm.environment]\n",
        "[vllm.environment]\nAWQDEPLOY_REHEARSAL_FAULT = \"crash\"\n",
    );
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::WentBack);
    let (source, said) = lines(&mut stand, Some(TWO), Lines::Last(1000)).unwrap();
    assert_eq!(source, Source::Kept(2));
    assert!(said.iter().any(|line| line.contains("out of memory")), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("startup complete")), "it is of generation 1: {said:#?}");
    assert_eq!(lines(&mut stand, Some(TWO), Lines::Follow), Err(Kind::Usage));
    assert_eq!(lines(&mut stand, Some(GenerationId(9)), Lines::Last(9)), Err(Kind::Usage));
}

#[test]
fn the_difference_of_generations_and_profiles_is_told_part_by_part() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    let parts = |stand: &Stand, a: &str, b: &str| {
        let (_, sections) = difference(&stand.context, a, b).unwrap();
        sections.iter().map(|section| section.part).collect::<Vec<_>>()
    };
    assert_eq!(parts(&stand, "1", "1"), [""; 0]);
    assert_eq!(parts(&stand, "2", NEW), [""; 0], "what was deployed is what would be");
    assert_eq!(parts(&stand, "1", "2"), ["command", "model", "files", "memory", "unit"]);

    stand.write_profile(NEW, "arguments = []", "arguments = [\"--seed\", \"7\"]");
    let ([two, new], sections) = difference(&stand.context, "2", NEW).unwrap();
    assert_eq!((two.generation, new.generation, new.profile.as_str()), (Some(TWO), None, NEW));
    let command = &sections[0];
    let changed: Vec<_> = command.lines.iter().filter(|line| line.is != Change::Same).collect();
    assert_eq!((command.part, changed.len()), ("command", 1));
    assert_eq!((changed[0].is, changed[0].text.as_str()), (Change::Added, "--seed 7"));
    assert!(difference(&stand.context, "1", "9").is_err());
    assert!(difference(&stand.context, "1", "nobody").is_err());
}

/// Each activation's journal: so many seconds after the epoch, each state following from the outcome before it.
fn journal(from: Option<GenerationId>, to: GenerationId, begins: i64, steps: &[(i64, bool)]) -> Vec<Entry> {
    let at = |second: i64| jiff::Timestamp::from_second(begins + second).unwrap();
    let mut activation = Activation::new(from, to);
    let mut journal = vec![Entry { at: at(0), uptime: None, activation: activation.clone() }];
    for (second, well) in steps {
        activation = activation.after(if *well { Ok(()) } else { Err("no".to_owned()) });
        journal.push(Entry { at: at(*second), uptime: None, activation: activation.clone() });
    }
    journal
}

#[test]
fn a_generation_ran_from_its_last_start_to_the_stop_after_it() {
    let at = |second| Some(jiff::Timestamp::from_second(second).unwrap());
    let first = journal(None, ONE, 0, &[(1, true), (2, true), (50, true), (60, true)]);
    let failed = [(3, true), (4, true), (30, false), (31, true), (32, true), (70, true)];
    let second = journal(Some(ONE), TWO, 100, &failed);
    let all = [first.as_slice(), second.as_slice()];
    assert_eq!(served(all[..1].to_vec(), ONE), Some(Period { from: at(2), until: None }));
    assert_eq!(served(all, TWO), Some(Period { from: at(104), until: at(130) }));
    assert_eq!(served(all, ONE), Some(Period { from: at(132), until: None }));
    assert_eq!(served(all, GenerationId(3)), None);
}

#[test]
fn the_outage_has_its_steps_and_a_plain_restart_beside_it() {
    let first = journal(None, ONE, 0, &[(1, true), (2, true), (50, true), (60, true)]);
    let second = journal(Some(ONE), TWO, 100, &[(3, true), (4, true), (40, true), (90, true)]);
    let names: Vec<_> = outage(&second).into_iter().map(|phase| (phase.name, phase.seconds)).collect();
    assert_eq!(names, [("stop".to_owned(), 3.0), ("point".to_owned(), 1.0), ("start".to_owned(), 36.0)]);
    assert_eq!(plain_restart(&second, NONE, ONE), None);
    assert_eq!(plain_restart(&second, [&first], ONE), None, "a first start compiles, and a restart does not");
    // The first is started again after a candidate that failed, and once in vain.
    let back =
        [(3, true), (4, true), (30, false), (31, true), (32, true), (52, false), (62, true), (63, true)];
    let failed = journal(Some(ONE), TWO, 90, &back);
    assert_eq!(plain_restart(&second, [&failed, &first], ONE), Some(3.0 + 10.0));
    assert_eq!(plain_restart(&second, [&failed, &first], TWO), None, "it never was ready");
    assert!(outage(&first).is_empty(), "nothing served before");
}

//! The limits that a unit asks for, beside those in force.

use awqdeploy::{
    domain::{
        findings::{Concerns, RULES},
        size::ByteSize,
        validation::limits::Limits,
    },
    host::machine::{limits::open_files, tasks_limit},
};
use std::fs;

const UNIT: &str = "[Service]\nMemoryMax=1073741824\nTasksMax=8192\nLimitNOFILE=65536\n#TasksMax=1\n";

fn limits(memory: Option<u64>, tasks: Option<u64>, open_files: Option<u64>) -> Limits {
    Limits { memory: memory.map(ByteSize), tasks, open_files }
}

#[test]
fn what_is_not_in_force_is_named_and_nothing_else() {
    let asked = Limits::asked_by(UNIT);
    assert_eq!(asked, limits(Some(1 << 30), Some(8192), Some(65536)));
    let (memory, tasks, files) =
        ("memory-limit-not-in-force", "tasks-limit-not-in-force", "open-files-not-in-force");
    for (given, codes) in [
        (limits(Some(1 << 30), Some(8192), Some(65536)), vec![]),
        // Somebody above it limits it more, or lets it open more.
        (limits(Some(1 << 29), Some(100), Some(1 << 20)), vec![]),
        (limits(None, Some(8192), Some(65536)), vec![memory]),
        (limits(Some(2 << 30), Some(8192), Some(65536)), vec![memory]),
        (limits(Some(1 << 30), None, Some(65536)), vec![tasks]),
        (limits(Some(1 << 30), Some(8192), Some(1024)), vec![files]),
        (limits(None, None, Some(1024)), vec![memory, tasks, files]),
        // Nobody could tell.
        (limits(Some(1 << 30), Some(8192), None), vec![]),
    ] {
        let found = asked.not_given(given);
        let found: Vec<&str> = found.iter().map(|finding| finding.code.as_ref()).collect();
        assert_eq!(found, codes, "{given:?}");
    }
    let rules = RULES.iter().filter(|rule| rule.concerns == Concerns::Service).map(|rule| rule.code);
    assert!(rules.eq([memory, tasks, files]));
    assert!(Limits::asked_by("[Service]\nTasksMax=infinity\n").not_given(Limits::default()).is_empty());
    let [finding] = &asked.not_given(limits(None, Some(1), Some(65536)))[..] else { panic!("one") };
    assert_eq!(finding.message, "`MemoryMax=` is 1.0 GiB in the unit, and in force is none");
    assert!(finding.help.as_ref().is_some_and(|help| help.contains("memory controller")), "{finding:?}");
}

#[test]
fn limits_in_force_are_read_from_the_kernel() {
    let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                Max processes             95847                95847                processes \n\
                Max open files            1024                 524288               files     \n";
    assert_eq!(open_files(text), Some(1024));
    assert_eq!(open_files("Max open files            unlimited            unlimited            files"), None);

    let root = crate::scratch::tempdir().unwrap();
    fs::create_dir_all(root.path().join("system.slice/vllm.service")).unwrap();
    fs::write(root.path().join("system.slice/pids.max"), "500\n").unwrap();
    fs::write(root.path().join("system.slice/vllm.service/pids.max"), "max\n").unwrap();
    let limit = |membership: &str| tasks_limit(root.path(), membership);
    assert_eq!(limit("0::/system.slice/vllm.service\n"), Some(500));
    assert_eq!(limit("4:pids:/system.slice/vllm.service\n"), None, "that hierarchy is not there");
    assert_eq!(limit("4:memory:/system.slice/vllm.service\n"), None);
}

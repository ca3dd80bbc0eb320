//! The facts of a machine, asked of the one that the tests run on and of made-up cgroup trees.

use super::scratch::tempdir;
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{machine::facts::Facts, size::ByteSize, store::layout::Scope},
    host::machine,
};
use insta::assert_snapshot;
use std::fs;

#[test]
fn this_machine_has_facts_that_survive_a_round_trip() {
    let facts = machine::facts(Scope::System).unwrap();
    assert!(facts.ram_available <= facts.ram_total && facts.ram_available > ByteSize::mib(64));
    assert!(facts.cpus >= 1 && facts.numa_nodes <= facts.cpus);
    assert!(facts.disk_free.is_some() && facts.cgroup_limit.is_none_or(|limit| facts.ram_total <= limit));
    // Either GPUs or a reason: silence would read as "no GPU" where a driver is broken.
    assert_eq!(facts.gpus.is_empty(), facts.gpus_unknown.is_some(), "{facts:?}");
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&json).unwrap(), facts);
}

#[test]
fn facts_of_another_version_are_refused_and_those_of_this_one_are_read() {
    let first = Facts::parse(Facts::EXAMPLE).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(Facts::EXAMPLE).unwrap();
    value["schema"] = "awqdeploy/facts/v1".into();
    assert_eq!(Facts::parse(&value.to_string()).unwrap(), first);
    value["schema"] = "awqdeploy/facts/v2".into();
    value["quantum_coprocessors"] = 3.into();
    let shown =
        |value: &serde_json::Value| render(&Facts::parse(&value.to_string()).unwrap_err(), Style::Plain);
    assert_snapshot!(shown(&value), @"
    error: its schema is `awqdeploy/facts/v2`, and this program reads `awqdeploy/facts/v1`
    help: a newer awqdeploy wrote it: plan with that one, or write it anew with this
    ");
    value["schema"] = "awqdeploy/plan/v1".into();
    assert_snapshot!(shown(&value), @"
    error: its schema is `awqdeploy/plan/v1`, and this program reads `awqdeploy/facts/v1`
    help: name a file that `awqdeploy facts > FILE` wrote
    ");
    value.as_object_mut().unwrap().remove("schema");
    assert_snapshot!(shown(&value), @"
    error: it does not hold a host's facts
    caused by: unknown field `quantum_coprocessors`, expected one of `gpus`, `driver`, `gpus_unknown`, `ram_total`, `ram_available`, `cpus`, `cpu_features`, `numa_nodes`, `swap_total`, `cgroup_limit`, `shared_memory`, `disk_free`, `open_files`, `locked_memory`, `wsl`, `experience`, `starts`
    help: `awqdeploy facts > FILE` on that host writes them
    ");
    assert_snapshot!(shown(&serde_json::json!("facts")), @r#"
    error: it does not hold a host's facts
    caused by: invalid type: string "facts", expected struct Facts
    help: `awqdeploy facts > FILE` on that host writes them
    "#);
}

#[test]
fn memory_lines_are_read_whole() {
    let text = "MemTotal:       24689764 kB\nMemTotalish: 1 kB\nMemFree: many kB\n";
    assert_eq!(machine::process::memory_line(text, "MemTotal"), Some(ByteSize(24_689_764 * 1024)));
    assert_eq!(machine::process::memory_line(text, "Mem"), None);
    assert_eq!(machine::process::memory_line(text, "MemFree"), None);
}

#[test]
fn features_are_found_in_what_the_kernel_writes() {
    let cpuinfo = "processor\t: 0\nflags\t\t: fpu avx2 avx512f_not avx512_bf16\n\nprocessor\t: 1\n";
    assert_eq!(machine::cpu_features(cpuinfo), ["avx2", "avx512_bf16"]);
    assert_eq!(machine::cpu_features(""), [""; 0]);
}

#[test]
fn the_tightest_cgroup_on_the_way_up_limits() {
    let root = tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a fixture")]
        fs::write(path, text).unwrap();
    };
    write("system.slice/memory.max", "1000000\n");
    write("system.slice/a.service/memory.max", "max\n");
    write("other/memory.max", "5\n");
    write("memory/docker/x/memory.limit_in_bytes", "777\n");
    let limit = |membership| machine::cgroup_limit(root.path(), membership);
    assert_eq!(limit("0::/system.slice/a.service\n"), Some(ByteSize(1_000_000)));
    assert_eq!(limit("9:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n"), Some(ByteSize(777)));
    assert_eq!(limit("9:cpu:/docker/x\n"), None);
    assert_eq!(limit("0::/\n"), None);
    assert_eq!(limit(""), None);
}

#[test]
fn the_example_is_the_fixture_of_the_same_machine() {
    let fixture = include_str!("../fixtures/facts/four-16gb.json");
    assert_eq!(Facts::EXAMPLE, fixture);
    for text in [
        fixture,
        include_str!("../fixtures/facts/one-16gb.json"),
        include_str!("../fixtures/facts/four-4gb.json"),
        include_str!("../fixtures/facts/no-gpu.json"),
    ] {
        serde_json::from_str::<Facts>(text).unwrap();
    }
}

#[test]
fn what_a_process_holds_is_its_own_and_shared_memory_without_files() {
    let status = "VmRSS:\t  900 kB\nRssAnon:\t  500 kB\nRssFile:\t  300 kB\nRssShmem:\t  100 kB\n";
    assert_eq!(machine::process::anonymous(status), ByteSize(600 << 10));
    assert_eq!(machine::process::anonymous("Name:\tkthreadd\n"), ByteSize(0));
}

//! The messages to the host's journal about the activations that the stories ended.

use super::machine::Machine;
use awqdeploy::domain::generation::notice::{ACTIVATED, ROLLED_BACK};
use serde_json::Value;

pub(crate) fn tells(machine: &Machine) {
    let activated = entries(machine, &[&format!("MESSAGE_ID={ACTIVATED}")]);
    let migration =
        activated.iter().find(|entry| entry["AWQDEPLOY_PROFILE"] == "new").expect("`new` was activated");
    assert_eq!(
        (&migration["AWQDEPLOY_FROM"], &migration["AWQDEPLOY_TO"], &migration["PRIORITY"]),
        (&"1".into(), &"2".into(), &"5".into()),
        "{migration:#}"
    );
    assert_eq!(migration["MESSAGE"], "new (generation 2) is proven and serves");

    // Among the service's own lines, too.
    let rolled_back = entries(machine, &["-u", "vllm", &format!("MESSAGE_ID={ROLLED_BACK}")]);
    let broken =
        rolled_back.iter().find(|entry| entry["AWQDEPLOY_PROFILE"] == "broken").expect("it was rolled back");
    assert_eq!(broken["PRIORITY"], "4");
    let message = broken["MESSAGE"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("broken (generation 3) was rolled back, generation 2 serves again: "),
        "{message}"
    );
    evidence_is_its_own(machine);
}

/// The log that is kept of a candidate tells nothing of the server before it, which the same unit ran.
fn evidence_is_its_own(machine: &Machine) {
    let log = machine.run(&["cat", "/var/lib/awqdeploy/activations/3/service.log"]).succeeded();
    assert!(log.contains("Starting"), "{log}");
    assert!(!log.contains("Stopped"), "the stop was that of the generation before: {log}");
}

fn entries(machine: &Machine, asked: &[&str]) -> Vec<Value> {
    let said = machine.run(&[&["journalctl", "--output=json", "--no-pager"], asked].concat()).succeeded();
    said.lines().map(|line| serde_json::from_str(line).expect("each line is an entry")).collect()
}

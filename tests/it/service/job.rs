//! The words of systemd about its jobs.

use awqdeploy::domain::service::job::JobEnd;

#[test]
fn each_name_comes_back() {
    let names = [
        "done",
        "canceled",
        "timeout",
        "failed",
        "dependency",
        "skipped",
        "invalid",
        "assert",
        "unsupported",
        "once",
    ];
    for name in names {
        assert_eq!(JobEnd::named(name).to_string(), name);
    }
    assert_eq!(JobEnd::named("once"), JobEnd::Other("once".to_owned()));
    assert_eq!(JobEnd::named("assert"), JobEnd::Assertion);
}

/// The sentences are those of `systemctl start` in systemd 252 and 257.
#[test]
fn systemctl_says_the_same_in_sentences() {
    for (said, end) in [
        ("Job for vllm.service canceled.\n", JobEnd::Canceled),
        ("Job for vllm.service timed out.\n", JobEnd::TimedOut),
        ("A dependency job for vllm.service failed. See 'journalctl -xe' for details.\n", JobEnd::Dependency),
        ("Assertion failed on job for vllm.service.\n", JobEnd::Assertion),
        ("Operation on or unit type of vllm.service not supported on this system.\n", JobEnd::Unsupported),
        (
            "Job for vllm.service failed because the control process exited with error code.\nSee \"systemctl status\"\n",
            JobEnd::Failed,
        ),
        (
            "Failed to start vllm.service: Unit vllm.service not found.\n",
            JobEnd::Other("Failed to start vllm.service: Unit vllm.service not found.".to_owned()),
        ),
    ] {
        assert_eq!(JobEnd::said_by_systemctl(said), end);
    }
}

/// The service's own words are better than that it failed; that another job came is known to the job alone.
#[test]
fn only_what_the_unit_cannot_tell_is_a_reason() {
    assert_eq!(JobEnd::Failed.reason(), None);
    assert_eq!(JobEnd::Unheard.reason(), None);
    assert_eq!(JobEnd::Canceled.reason().as_deref(), Some("somebody else's stop or start took its place"));
    assert_eq!(JobEnd::Other("no such unit".to_owned()).reason().as_deref(), Some("no such unit"));
}

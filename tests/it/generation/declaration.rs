//! Says what is left to do for what a configuration declares: every record, beside every state of the host.

use awqdeploy::domain::{
    activation::machine::{Cause, Step},
    digest::Sha256Digest,
    generation::declaration::{self, Attempt, Current, Ended, Next, Now, Texts, Why},
    generation_id::GenerationId,
};

const PROFILE: &str =
    "service = 'vllm' # ours\n[model]\nrepo = 'owner/name'\n[limits]\nmax-model-len = 4096\n";
const UNIT: &str =
    "# Made by awqdeploy\n#   /root/store/runtimes/0123abcd/bin/python -m vllm\nMemoryMax=4G\n";
const BASE: Texts<'_> =
    Texts { name: "awq", profile: PROFILE, model: Some("a = 1"), runtime: Some("b = 1"), unit: Some(UNIT) };

#[test]
fn it_is_known_by_what_is_said_and_not_by_how_or_by_whom() {
    let base = declaration::digest(&[BASE]);
    let same: [(&str, Texts<'_>); 3] = [
        (
            "another layout, as another generator of TOML writes it",
            Texts {
                profile: "\n'service' = \"vllm\"\nlimits.'max-model-len' = 4_096\n\n[model]\n\"repo\" = \"owner/name\"\n",
                ..BASE
            },
        ),
        ("a comment in a lock", Texts { model: Some("# of today\na = 1\n"), ..BASE }),
        (
            "the same runtime, built by another nixpkgs",
            Texts {
                unit: Some(
                    "# Made by awqdeploy\n#   /root/store/runtimes/ffff0000/bin/python -m vllm\nMemoryMax=4G\n",
                ),
                ..BASE
            },
        ),
    ];
    for (what, texts) in same {
        assert_eq!(declaration::digest(&[texts]), base, "{what}");
    }
    let (longer, as_text, larger) =
        (PROFILE.replace("4096", "8192"), PROFILE.replace("4096", "'4096'"), UNIT.replace("4G", "8G"));
    let other: [(&str, Vec<Texts<'_>>); 9] = [
        ("another name", vec![Texts { name: "gptq", ..BASE }]),
        ("another value", vec![Texts { profile: &longer, ..BASE }]),
        ("another type of value", vec![Texts { profile: &as_text, ..BASE }]),
        ("another model", vec![Texts { model: Some("a = 2"), ..BASE }]),
        ("no lock any more", vec![Texts { model: None, ..BASE }]),
        ("another vLLM", vec![Texts { runtime: Some("b = 2"), ..BASE }]),
        ("another unit", vec![Texts { unit: Some(&larger), ..BASE }]),
        ("texts that changed places", vec![Texts { model: BASE.runtime, runtime: BASE.model, ..BASE }]),
        ("a way back", vec![BASE, Texts { name: "gptq", ..BASE }]),
    ];
    for (what, texts) in other {
        assert_ne!(declaration::digest(&texts), base, "{what}");
    }
}

const BOOT: &str = "this boot";

fn current(generation: u64, profile: &str, is_declared: bool) -> Current<'_> {
    Current { generation: GenerationId(generation), profile, is_declared }
}

fn next(boot: &str, end: Option<Ended>, activations: u64, current: Option<Current<'_>>) -> Next {
    let declared = Sha256Digest::of("declared");
    let attempt = Attempt { declaration: declared, boot: boot.to_owned(), after: 4, end };
    declaration::next(declared, Some(&attempt), Now { boot: BOOT, activations, current })
}

fn committed() -> Ended {
    Ended::Committed { generation: GenerationId(5) }
}

fn went_back() -> Ended {
    Ended::WentBack { generation: GenerationId(5), why: "validate failed: too slow".to_owned() }
}

#[test]
fn what_was_never_tried_is_deployed() {
    let now = Now { boot: BOOT, activations: 5, current: Some(current(5, "awq", true)) };
    let declared = Sha256Digest::of("declared");
    assert_eq!(declaration::next(declared, None, now), Next::Deploy);
    let other = Attempt {
        declaration: Sha256Digest::of("other"),
        boot: BOOT.to_owned(),
        after: 4,
        end: Some(committed()),
    };
    assert_eq!(declaration::next(declared, Some(&other), now), Next::Deploy);
}

#[test]
fn what_was_committed_is_left_alone_whoever_replaced_it() {
    let after = |current| next("an earlier boot", Some(committed()), 5, current);
    assert_eq!(after(Some(current(5, "awq", true))), Next::Serves(GenerationId(5)));
    // A generation's record may be of an earlier version, its profile without a text.
    assert_eq!(after(Some(current(5, "awq", false))), Next::Serves(GenerationId(5)));
    assert_eq!(after(Some(current(7, "awq", true))), Next::Serves(GenerationId(7)), "deployed again by hand");
    let replaced = |by: &str| Next::Stands(Why::Replaced(Some(by.to_owned())));
    assert_eq!(after(Some(current(3, "gptq", false))), replaced("gptq"), "a person went back");
    assert_eq!(after(Some(current(3, "awq", true))), replaced("awq"), "an earlier one of the same profile");
    assert_eq!(after(Some(current(7, "awq", false))), replaced("awq"), "another profile of this name");
    assert_eq!(after(None), Next::Stands(Why::Replaced(None)));
}

#[test]
fn what_went_back_is_not_tried_again_though_an_earlier_one_of_its_name_serves() {
    let after = |current| next(BOOT, Some(went_back()), 5, current);
    let failed = Next::Stands(Why::Failed("validate failed: too slow".to_owned()));
    for current in
        [None, Some(current(3, "gptq", false)), Some(current(3, "awq", false)), Some(current(3, "awq", true))]
    {
        assert_eq!(after(current), failed, "{current:?}");
    }
    assert_eq!(after(Some(current(6, "awq", true))), Next::Serves(GenerationId(6)), "a person insisted");
}

#[test]
fn what_did_not_come_to_an_end_is_tried_again_but_not_at_every_boot() {
    let other = Some(current(3, "gptq", false));
    // Refused, not fetched, interrupted, killed: in the same boot, or before anything was activated.
    assert_eq!(next(BOOT, None, 4, other), Next::Deploy);
    assert_eq!(next(BOOT, None, 5, other), Next::Deploy);
    assert_eq!(next("an earlier boot", None, 4, other), Next::Deploy);
    // The host went down in the middle of an activation.
    let down = Next::Stands(Why::HostWentDown);
    assert_eq!(next("an earlier boot", None, 5, other), down);
    assert_eq!(next("an earlier boot", None, 5, None), down);
    assert_eq!(
        next("an earlier boot", None, 5, Some(current(5, "awq", true))),
        Next::Deploy,
        "it was committed by then"
    );
    // That was told: whoever asks again in this boot wants it; the next boot does not.
    assert_eq!(next(BOOT, Some(Ended::HostWentDown), 5, other), Next::Deploy);
    assert_eq!(next("an earlier boot", Some(Ended::HostWentDown), 5, other), down);
}

#[test]
fn an_end_is_remembered_where_it_speaks_of_the_candidate() {
    let failed = |step| Cause::Failed { step, why: "it did".to_owned() };
    let remembered = |cause: &Cause| Ended::after(GenerationId(5), cause).is_some();
    assert!(remembered(&failed(Step::Start)) && remembered(&failed(Step::Validate)));
    assert!(remembered(&Cause::Degraded { why: "it hung".to_owned() }));
    assert!(!remembered(&failed(Step::Stop)) && !remembered(&failed(Step::Point)));
    assert!(!remembered(&Cause::Interrupted { step: Step::Validate }));
}

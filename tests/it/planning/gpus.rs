//! Which GPUs a service may use: what is planned on, and who may deploy at the same time.

use crate::{
    inputs::{AUTO, AWQ, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        machine::{
            facts::{Facts, Gpu},
            visible::{BY_BUS, Claim, DEVICES, ORDER},
        },
        problem::Kind,
        profile::Profile,
        size::ByteSize,
    },
    host::{os::lock_file::HeldLock, systemd::host_lock::hold_gpus},
};
use std::{collections::BTreeMap, path::Path};

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn gpus(numbers: &[u32]) -> Claim {
    Claim::Gpus(numbers.iter().copied().collect())
}

#[test]
fn what_cannot_be_told_counts_as_all() {
    let known = |uuid: &str| (uuid == "GPU-aaaa").then_some(3);
    let by_bus = |devices: &str| Claim::of(&environment(&[(DEVICES, devices), (ORDER, BY_BUS)]), known);
    assert_eq!(by_bus("0,1"), gpus(&[0, 1]));
    assert_eq!(by_bus(" 2 , 0 "), gpus(&[0, 2]));
    assert_eq!(by_bus("GPU-aaaa"), gpus(&[3]));
    for devices in ["", "-1", "0,-1", "NoDevFiles", "0,GPU-aaaa", "MIG-aaaa", "GPU-bbbb", "GPU-aaaa,GPU-bbbb"]
    {
        assert_eq!(by_bus(devices), Claim::Host, "{devices}");
    }
    // CUDA's own order begins with the fastest, which is nobody's number.
    assert_eq!(Claim::of(&environment(&[(DEVICES, "0")]), known), Claim::Host);
    assert_eq!(Claim::of(&environment(&[]), known), Claim::Host);
    assert_eq!(gpus(&[0]).and(gpus(&[1])), gpus(&[0, 1]));
    assert_eq!(gpus(&[0]).and(Claim::Host), Claim::Host);
}

#[test]
fn a_plan_is_made_for_the_gpus_that_its_engine_sees() {
    let mut host = facts("four-16gb");
    for (number, gpu) in host.gpus.iter_mut().enumerate() {
        gpu.name = number.to_string();
    }
    let seen = |devices: &str| -> String {
        let Facts { gpus, .. } = host.visible(&environment(&[(DEVICES, devices)]));
        gpus.into_iter().map(|gpu| gpu.name).collect()
    };
    assert_eq!([seen("2,3"), seen("3,0"), seen("1"), seen("0,9,1"), seen("9")], ["23", "30", "1", "0", ""]);
    assert_eq!([seen("GPU-aa,GPU-bb"), seen("all of them")], ["01", "0123"]);
    // As many ranks as there are GPUs to see, and the numbers are those of `nvidia-smi`.
    let variables = format!("[vllm.environment]\n{DEVICES} = '2,3'\n");
    let named = awq(AUTO.0, AUTO.1) + &variables;
    let plan = plan_of(&named, &facts("four-16gb"), None).unwrap();
    assert_eq!(plan.memory.tensor_parallel_size, 2);
    assert_eq!(plan.serve.env.get(ORDER).map(String::as_str), Some(BY_BUS));
    let all = AWQ.to_owned() + &variables;
    assert_eq!(plan_of(&all, &facts("four-16gb"), None).unwrap_err().code, "tensor-parallel-exceeds-gpus");
}

/// A host with these GPUs: name, VRAM in GiB, compute capability.
fn mixed(cards: &[(&str, u64, (u32, u32))]) -> Facts {
    let mut host = facts("four-16gb");
    let gpus = cards.iter().enumerate().map(|(number, (name, gib, capability))| Gpu {
        name: (*name).to_owned(),
        uuid: Some(format!("GPU-{number}")),
        memory_total: ByteSize::gib(*gib),
        memory_free: ByteSize::gib(*gib),
        compute_capability: *capability,
        ..host.gpus[0].clone()
    });
    host.gpus = gpus.collect();
    host
}

/// The GPUs that the plan pins, its ranks, and those that it calls idle.
fn chosen(text: &str, host: &Facts) -> (Option<String>, u32, String) {
    let plan = plan_of(text, host, None).unwrap();
    let env = &plan.serve.env;
    assert_eq!(env.contains_key(DEVICES), env.get(ORDER).is_some_and(|order| order == BY_BUS));
    let idle = plan.findings.iter().find(|finding| finding.code == "gpus-idle");
    let idle = idle.map_or(String::new(), |finding| finding.message.clone());
    (env.get(DEVICES).cloned(), plan.memory.tensor_parallel_size, idle)
}

const DISPLAY: (&str, u64, (u32, u32)) = ("NVIDIA GeForce GT 1030", 2, (6, 1));
const SMALL: (&str, u64, (u32, u32)) = ("NVIDIA GeForce RTX 3060", 12, (8, 6));
const LARGE: (&str, u64, (u32, u32)) = ("NVIDIA GeForce RTX 4090", 24, (8, 9));

#[test]
fn a_weaker_card_does_not_spoil_the_others() {
    let text = awq(AUTO.0, AUTO.1).replace("gpu = \"16GiB\"", "");
    let pinned = |gpus: &str| Some(gpus.to_owned());
    let idle = |count: usize, all: usize, name: &str| format!("{count} of {all} GPUs stay idle: `{name}`");
    let expected = (pinned("GPU-1"), 1, idle(1, 2, DISPLAY.0));
    assert_eq!(chosen(&text, &mixed(&[DISPLAY, LARGE])), expected);
    let two = chosen(&text, &mixed(&[LARGE, DISPLAY, LARGE]));
    assert_eq!(two, (pinned("GPU-0,GPU-2"), 2, idle(1, 3, DISPLAY.0)));
    let alone = text.replace("\"auto\"", "1");
    assert_eq!(chosen(&alone, &mixed(&[SMALL, LARGE])).0, pinned("GPU-1"));
    // Alike GPUs are nobody's choice: the unit stays as it was.
    assert_eq!(chosen(&text, &mixed(&[LARGE, LARGE])), (None, 2, String::new()));
    // Where no UUID is told, the numbers of the bus are as good.
    let mut host = mixed(&[DISPLAY, LARGE]);
    host.gpus.iter_mut().for_each(|gpu| gpu.uuid = None);
    assert_eq!(chosen(&text, &host).0, pinned("1"));
}

#[test]
fn a_profile_names_its_gpus() {
    let text = awq(AUTO.0, &format!("{}\ngpus = [1, \"GPU-2\"]", AUTO.1)).replace("gpu = \"16GiB\"", "");
    let (gpus, ranks, idle) = chosen(&text, &mixed(&[SMALL, LARGE, LARGE]));
    assert_eq!((gpus.as_deref(), ranks, idle.as_str()), (Some("GPU-1,GPU-2"), 2, ""));
    let parse = |gpus: &str| {
        let text = awq(AUTO.0, &format!("{}\ngpus = {gpus}", AUTO.1));
        Profile::parse("awq", Path::new("awq.toml"), &text).err().map(|problem| problem.what)
    };
    assert_eq!(parse("[0]"), None);
    for wrong in ["[]", "[0, 0]", "[-1]", "[2000]", "[\"MIG-1\"]", "[\"GPU-\"]", "[\"GPU-x\"]"] {
        assert!(parse(wrong).is_some(), "{wrong}");
    }
    let both =
        format!("{}[vllm.environment]\n{DEVICES} = '0'\n", awq(AUTO.0, &format!("{}\ngpus = [0]", AUTO.1)));
    assert!(Profile::parse("awq", Path::new("awq.toml"), &both).is_err());
}

/// Tries to take them as another process would: a lock belongs to an open file.
fn take(folder: &Path, claim: &Claim) -> Result<Vec<HeldLock>, Kind> {
    hold_gpus(folder, claim, "awqdeploy deploy other").map_err(|problem| {
        assert!(problem.what.contains("`awqdeploy deploy awq`"), "{}", problem.what);
        problem.kind
    })
}

#[test]
fn deployments_on_gpus_of_their_own_go_side_by_side() {
    let place = tempdir().unwrap();
    let folder = place.path();
    let busy = |claim: &Claim| take(folder, claim).err() == Some(Kind::Busy);
    let held = hold_gpus(folder, &gpus(&[0, 1]), "awqdeploy deploy awq").unwrap();
    drop(take(folder, &gpus(&[2, 3])).unwrap());
    assert!(busy(&gpus(&[1, 2])) && busy(&gpus(&[0])), "two on one GPU");
    assert!(busy(&Claim::Host), "the whole host, of which a part is held");
    // Of what was refused nothing stays held.
    drop(take(folder, &gpus(&[2])).unwrap());
    drop(held);
    let held = hold_gpus(folder, &Claim::Host, "awqdeploy deploy awq").unwrap();
    assert!(busy(&gpus(&[0])) && busy(&gpus(&[7])) && busy(&Claim::Host), "a part of a host that is held");
    drop(held);
    drop(take(folder, &Claim::Host).unwrap());
}

//! Which GPUs a service may use: what is planned on, and who may deploy at the same time.

use crate::{
    inputs::{AUTO, AWQ, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        machine::{
            facts::Facts,
            visible::{BY_BUS, Claim, DEVICES, ORDER},
        },
        problem::Kind,
    },
    host::systemd::host_lock::hold_gpus,
};
use std::{collections::BTreeMap, fs::File, path::Path};

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

/// Tries to take them as another process would: a lock belongs to an open file.
fn take(folder: &Path, claim: &Claim) -> Result<Vec<File>, Kind> {
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

//! Profiles, a model and a runtime that take no time: the program's own engine in vLLM's place.

use super::machine::{Machine, bind};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Where the models are inside.
const MODELS: &str = "/srv/models";
/// The names of the profiles.
const PROFILES: [&str; 5] = ["old", "new", "broken", "keyed", "guarded"];
/// Where the key of `keyed` lies inside.
pub(crate) const KEY_FILE: &str = "/etc/awqdeploy/secrets/api-key";
/// The lock of a runtime whose one wheel is never looked at: a stand-in for uv installs it.
const RUNTIME: &str = "version = 1\nvllm = '0.32.0'\ndevice = 'cpu'\npython = '3.12'\nplatform = 'any'\n\
    [[wheel]]\nname = 'vllm'\nversion = '0.32.0'\nfile = 'vllm-0.32.0-py3-none-any.whl'\nsize = 1\n\
    sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n";

/// Folders of this machine that the other sees.
pub(crate) struct Parts {
    pub(crate) profiles: PathBuf,
    models: PathBuf,
}

impl Parts {
    pub(crate) fn binds(&self) -> Vec<(&'static str, String)> {
        // In uv's place: the program's own engine as an interpreter that runs vLLM.
        let uv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/uv");
        vec![("--ro-bind", bind(&self.models, MODELS)), ("--ro-bind", bind(&uv, "/usr/local/bin/uv"))]
    }
}

/// Makes them anew.
pub(crate) fn make(name: &str) -> Parts {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let parts = Parts { profiles: scratch.join("profiles"), models: scratch.join("models") };
    for folder in [&parts.profiles, &parts.models] {
        let _ = fs::remove_dir_all(folder);
    }
    fs::create_dir_all(parts.profiles.join("secrets")).expect("the scratch folder can be written");
    fs::create_dir_all(parts.profiles.join("runtimes")).expect("the scratch folder can be written");
    fs::write(parts.profiles.join("runtimes/vllm-0.32.0-cpu.toml"), RUNTIME).expect("it can be written");
    for (number, profile) in (0_u8..).zip(PROFILES) {
        let more = match profile {
            "broken" => "AWQDEPLOY_REHEARSAL_FAULT = 'broken'\n".to_owned(),
            "keyed" | "guarded" => format!("[secrets]\napi-key-file = '{KEY_FILE}'\n"),
            _ => String::new(),
        };
        // Long enough for somebody to come in between.
        let load = if profile == "guarded" { 10_000 } else { 2000 };
        let text = format!(
            "service = 'vllm'\n[model]\nrepo = 'owner/{profile}'\npath = '{MODELS}/{profile}'\nserved-name = 'tiny'\n\
             [runtime]\nvllm = '0.32.0'\ndevice = 'cpu'\n[memory]\nram = '4GiB'\n[timeouts]\nstart = '1min'\nrequest = '5s'\n\
             [validation]\nmin-decode-tokens-per-second = 1.0\nrepetitions = 1\nwarmups = 0\noutput-tokens = 8\n\
             [watch]\nminutes = 0\nevery = '1s'\n\
             [vllm.environment]\nAWQDEPLOY_REHEARSAL_LOAD_MS = '{load}'\n{more}"
        );
        fs::write(parts.profiles.join(format!("{profile}.toml")), text).expect("it can be written");
        model(&parts.models.join(profile), number);
    }
    parts
}

/// A small model that is modelled, so that a plan knows it.
const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}"#;

/// One tensor of 64 bytes, and the shape of a small model.
fn model(folder: &Path, content: u8) {
    fs::create_dir_all(folder).expect("the scratch folder can be written");
    fs::write(folder.join("config.json"), LLAMA).expect("it can be written");
    fs::write(folder.join("configuration_own.sh"), MODELS_CODE).expect("it can be written");
    let header = r#"{"t":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}"#;
    let mut file = fs::File::create(folder.join("model.safetensors")).expect("it can be written");
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[content; 64]].concat();
    file.write_all(&bytes).expect("it can be written");
}

/// Locks the models.
pub(crate) fn install(machine: &Machine) {
    for profile in PROFILES {
        machine.run(&["awqdeploy", "lock", profile]).succeeded();
    }
}

/// Code that a model brings beside its weights: vLLM runs it when it looks at the model. It says who it is, what it
/// was told, and what it can read and write.
const MODELS_CODE: &str = "#!/bin/sh
can() { if \"$@\" 2>/dev/null >&2; then echo $yes; else echo $no; fi; }
echo \"uid $(id -u), token ${HF_TOKEN-none}, secret $(yes=read no=hidden can cat /root/secret), \\
store $(yes=writable no=read-only can touch /var/lib/awqdeploy/store/x), \\
home $(yes=seen no=hidden can test -e /home/somebody)\"
";

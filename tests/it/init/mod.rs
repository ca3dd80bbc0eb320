//! `init`: from a model's name to a profile.

mod asking;
mod checkpoints;
mod goldens;
mod names;
mod sources;
mod writing;

use crate::{
    inputs::facts,
    program::{Said, awqdeploy},
    scratch::tempdir,
};
use awqdeploy::domain::{
    machine::facts::{Facts, Gpu},
    size::ByteSize,
};
use checkpoints::Shape;
use serde_json::Value;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A chat template of a model that answers at once.
const ANSWERS: &str = "{{ messages }}";

/// A folder of profiles, models and facts.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A checkpoint in a folder of this site. Returns its path.
    fn model(&self, name: &str, shape: &Shape, template: Option<&str>) -> String {
        let folder = self.path(name);
        shape.write(&folder, template);
        folder.display().to_string()
    }

    /// Facts in a file of this site. Returns its path.
    fn facts(&self, facts: &Facts) -> String {
        let path = self.path("facts.json");
        fs::write(&path, serde_json::to_string(facts).unwrap()).unwrap();
        path.display().to_string()
    }

    /// `init` with these arguments, where no hub can be asked.
    fn init(&self, arguments: &[&str]) -> Said {
        self.init_with(arguments, &[("HF_HUB_OFFLINE", "1")])
    }

    fn init_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        self.run(&[&["init"], arguments].concat(), variables)
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = awqdeploy(&[&["--progress", "none"], arguments].concat());
        command.env("AWQDEPLOY_ROOT", self.path("root")).env("AWQDEPLOY_PROFILES", self.path("profiles"));
        command
            .env("HF_HOME", self.path("hf"))
            .env_remove("HF_HUB_CACHE")
            .env("HF_ENDPOINT", "http://127.0.0.1:9");
        let Said { code, stdout, stderr } = Said::by(command.envs(variables.iter().copied()));
        Said { code, stdout: self.plain(&stdout), stderr: self.plain(&stderr) }
    }

    /// The document of an `init` that ended well.
    fn document(&self, arguments: &[&str]) -> Value {
        self.init(&[arguments, &["--json"]].concat()).document(0)
    }

    fn plain(&self, text: &str) -> String {
        text.replace(self.dir.path().to_str().unwrap(), "DIR").replace("sudo ", "")
    }
}

/// A host with so many cards of 24 GB.
fn cards_of_24_gb(count: usize) -> Facts {
    let mut facts = facts("one-16gb");
    let card = Gpu {
        name: "NVIDIA GeForce RTX 4090".into(),
        memory_total: ByteSize::mib(24_564),
        memory_free: ByteSize::mib(24_000),
        ..facts.gpus.remove(0)
    };
    facts.gpus = vec![card; count];
    facts
}

//! Takes the command line of a vLLM server apart, and puts it together again.

use super::{
    environment::{Seen, asks_for_a_key, environment},
    files,
};
use crate::domain::{
    planning::command_line,
    problem::{Kind, Problem},
    profile::{Listen, kept_argument},
    size::ByteSize,
    vllm::{flags, numbers, serve::Serve, version::Version},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// The default port of vLLM.
const PORT: u16 = 8000;
/// The module that `vllm serve` replaced.
const OLD_MODULE: &str = "vllm.entrypoints.openai.api_server";

/// Flags that say where the model's files come from. The store holds those files.
const SOURCES: [&str; 4] = ["--revision", "--tokenizer-revision", "--code-revision", "--download-dir"];
/// Flags that a profile has keys for.
const KEYS: [&str; 11] = [
    "--model",
    "--host",
    "--port",
    "--served-model-name",
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--gpu-memory-utilization",
    "--cpu-offload-gb",
    "--max-model-len",
    "--max-num-seqs",
    "--max-num-batched-tokens",
];
/// Flags with which clients need TLS.
const TLS: [&str; 3] = ["--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs"];
/// Flags that a plan derives where it offloads; a profile takes none of them.
const OFFLOAD: [&str; 2] = ["--cpu-offload-params", "--offload-backend"];

/// A flag with its values, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flag {
    /// The long name.
    name: String,
    words: Vec<String>,
}

/// The command line of a server, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program, and what leads to its arguments: `serve` last, or the old module.
    command: Vec<String>,
    model: String,
    flags: Vec<Flag>,
}

/// A running server, as its command line and environment describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The command line.
    pub(crate) line: CommandLine,
    /// A folder or a repository, as it was written.
    pub(crate) model: String,
    /// `--revision`.
    pub(crate) revision: Option<String>,
    /// The names that clients may use; the first is the one in answers.
    pub(crate) served_names: Vec<String>,
    /// The address of the API.
    pub listen: Listen,
    /// `--tensor-parallel-size`.
    pub tensor_parallel_size: u32,
    /// `--pipeline-parallel-size`.
    pub(crate) pipeline_parallel_size: u32,
    /// `--gpu-memory-utilization`.
    pub gpu_memory_utilization: Option<f64>,
    /// `--cpu-offload-gb`.
    pub offload: ByteSize,
    /// `--max-model-len`, where it is a number.
    pub max_model_len: Option<u32>,
    /// `--max-num-seqs`.
    pub max_num_seqs: Option<u32>,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: Option<u32>,
    /// Every other flag, word for word.
    pub others: Vec<String>,
    /// The variables that say how vLLM computes.
    pub environment: BTreeMap<String, String>,
    /// Remarks for a person.
    pub notes: Vec<String>,
    /// `--download-dir`, as it was written.
    pub download_dir: Option<PathBuf>,
    /// Files and folders that the command line names beside the model.
    pub files: Vec<PathBuf>,
}

/// Where the arguments begin in the command line of a server.
pub(super) fn arguments_at(argv: &[String]) -> Option<usize> {
    split(argv).map(|(command, _)| command.len())
}

/// Whether this is the command line of a server of vLLM, rather than of a shell or tool that started one.
pub fn serves(argv: &[String]) -> bool {
    split(argv).is_some()
}

impl Flag {
    /// The values of the flag, after `=` or as further words.
    fn values(&self) -> Vec<&str> {
        let joined = self.words.first().and_then(|first| first.split_once('=')).map(|(_, value)| value);
        joined.into_iter().chain(self.words.iter().skip(1).map(String::as_str)).collect()
    }

    /// Whether it takes no further value.
    fn is_full(&self) -> bool {
        flags::is_switch(&self.name) || takes_one(&self.name) && self.values().len() == 1
    }
}

impl CommandLine {
    /// Takes a command line apart.
    ///
    /// # Errors
    /// [`Kind::Refused`] where it is none of vLLM's, or does not say which word of it is the model.
    pub fn of(argv: &[String]) -> Result<Self, Problem> {
        let Some((command, rest)) = split(argv) else {
            return Err(Problem::new(Kind::Refused, "this is not the command line of a vLLM server")
                .help("name the process, or the unit, of `vllm serve …`"));
        };
        let (mut flags, mut model) = (Vec::<Flag>::new(), None);
        for word in rest {
            if flags::is_flag(word) {
                let name = flags::arguments(std::slice::from_ref(word)).swap_remove(0).name;
                flags.push(Flag { name, words: vec![word.clone()] });
                continue;
            }
            match flags.last_mut() {
                None if model.is_none() => model = Some(word.clone()),
                // A flag that has all its values: what follows is the model.
                Some(flag) if model.is_none() && is_serve(command) && flag.is_full() => {
                    model = Some(word.clone());
                }
                Some(flag) => flag.words.push(word.clone()),
                None => return Err(unclear(word)),
            }
        }
        let mut named = flags.iter().filter(|flag| flag.name == "--model");
        // `vllm serve` takes the first one for the word that it expects.
        let named = if is_serve(command) { named.next() } else { named.next_back() };
        let named = named.and_then(|flag| flag.values().first().map(|&value| value.to_owned()));
        let model = model.or(named).ok_or_else(|| {
            Problem::new(Kind::Refused, "the command line does not say which model it serves")
                .help("start it as `vllm serve MODEL …`, with the model first, and adopt it then")
        })?;
        Ok(Self { command: command.to_vec(), model, flags })
    }

    /// The values of a flag. The last flag of this name counts, as it does for vLLM.
    fn values(&self, name: &str) -> Option<Vec<&str>> {
        self.flags.iter().rfind(|flag| flag.name == name).map(Flag::values)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values(name)?.first().copied()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let written = self.value(name);
        written.map(|text| text.parse().map_err(|_| not_a_number(name, text))).transpose()
    }

    /// The command line for the model in `folder` and the interpreter `program`.
    fn on(&self, program: &Path, folder: &Path, served_name: &str) -> Vec<String> {
        let folder = folder.display().to_string();
        let mut argv = vec![program.display().to_string()];
        argv.extend(self.command.iter().skip(1).cloned());
        if is_serve(&self.command) {
            // The model comes first: flags that take a list would swallow it.
            argv.push(folder.clone());
        } else {
            argv.extend(["--model".to_owned(), folder.clone()]);
        }
        if self.value("--served-model-name").is_none() {
            argv.extend(["--served-model-name".to_owned(), served_name.to_owned()]);
        }
        for flag in &self.flags {
            match flag.name.as_str() {
                "--model" | "--hf-token" => {}
                name if SOURCES.contains(&name) => {}
                "--tokenizer" | "--hf-config-path" if flag.values() == [self.model.as_str()] => {
                    argv.extend([flag.name.clone(), folder.clone()]);
                }
                _ => argv.extend(flag.words.iter().cloned()),
            }
        }
        argv
    }
}

impl Reading {
    /// Reads a process that serves.
    ///
    /// # Errors
    /// [`Kind::Refused`] for what its generation could not do as it does: ask for keys, listen at a socket file.
    pub fn of(seen: &Seen) -> Result<Self, Problem> {
        Self::beside(seen, None, &|_| false)
    }

    /// Reads the server of a vLLM of this version; `there` tells whether a file exists.
    pub fn beside(
        seen: &Seen,
        version: Option<Version>,
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, Problem> {
        let mut line = CommandLine::of(&seen.argv)?;
        let (files, repositories) = line.make_absolute(&seen.directory, there);
        if let Some((flag, repository)) = repositories.first() {
            let what = format!("`{flag}` names `{repository}` by its repository, which nothing locks");
            return Err(Problem::new(Kind::Refused, what).help(
                "name the folder that has its files, restart the server with that, and adopt it then",
            ));
        }
        if let Some(flag) = line.flags.iter().find(|flag| TLS.contains(&flag.name.as_str())) {
            let what =
                format!("this server speaks TLS (`{}`), and a validation speaks plain HTTP", flag.name);
            return Err(Problem::new(Kind::Refused, what).help(
                "let a proxy in front of it speak TLS: start it without, restart it, and adopt it then",
            ));
        }
        if line.values("--api-key").is_some() {
            return Err(asks_for_a_key("`--api-key`"));
        }
        if line.values("--uds").is_some() {
            return Err(Problem::new(Kind::Refused, "this server listens at a socket file (`--uds`)").help(
                "a deployment is asked over TCP: start it with `--host` and `--port`, and adopt it then",
            ));
        }
        let mut notes = Vec::new();
        let environment = environment(&seen.environment, version, &mut notes)?;
        let served_names = match line.values("--served-model-name") {
            Some(names) if !names.is_empty() => names.into_iter().map(str::to_owned).collect(),
            _ => vec![line.model.clone()],
        };
        line.remark(&served_names, &mut notes);
        let offload: f64 = line.number("--cpu-offload-gb")?.unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size in GiB, made bytes"
        )]
        let offload = ByteSize((offload.max(0.0) * 1024.0 * 1024.0 * 1024.0) as u64);
        Ok(Self {
            model: line.model.clone(),
            revision: line.value("--revision").map(str::to_owned),
            served_names,
            listen: Listen { host: line.host()?, port: line.number("--port")?.unwrap_or(PORT) },
            tensor_parallel_size: line.number("--tensor-parallel-size")?.unwrap_or(1),
            pipeline_parallel_size: line.number("--pipeline-parallel-size")?.unwrap_or(1),
            gpu_memory_utilization: line.number("--gpu-memory-utilization")?,
            offload,
            max_model_len: line.value("--max-model-len").and_then(tokens),
            max_num_seqs: line.number("--max-num-seqs")?,
            max_num_batched_tokens: line.value("--max-num-batched-tokens").and_then(tokens),
            others: line.others(&mut notes),
            environment,
            notes,
            files,
            download_dir: line.value("--download-dir").map(PathBuf::from),
            line,
        })
    }

    /// The command line, environment and address of the adopted generation, with the model in `folder`.
    pub fn serve(&self, program: &Path, folder: &Path) -> Serve {
        let name = self.served_names.first().map_or("", String::as_str);
        let own = self.environment.clone();
        let env = command_line::surroundings(command_line::LOADING).into_iter().chain(own).collect();
        Serve { argv: self.line.on(program, folder, name), env, listen: self.listen }
    }
}

impl CommandLine {
    fn host(&self) -> Result<IpAddr, Problem> {
        match self.value("--host") {
            // vLLM's own default is every address.
            None | Some("") => Ok(Ipv4Addr::UNSPECIFIED.into()),
            Some("localhost") => Ok(Ipv4Addr::LOCALHOST.into()),
            Some(text) => text.parse().map_err(|_| {
                Problem::new(Kind::Refused, format!("`--host {text}` is a name, not an IP address"))
                    .help("start it with the address itself, and adopt it then")
            }),
        }
    }

    /// Makes paths absolute: its generation runs in another folder. Gives all of them, and the repositories that stand
    /// where a folder could, each with its flag.
    fn make_absolute(
        &mut self,
        directory: &Path,
        there: &dyn Fn(&Path) -> bool,
    ) -> (Vec<PathBuf>, Vec<(String, String)>) {
        let (mut found, mut repositories) = (Vec::new(), Vec::new());
        for flag in &mut self.flags {
            let field = flag.words.first().and_then(|word| word.split('=').next()?.split_once('.'));
            let field = field.map(|(_, field)| field.to_owned());
            for (index, word) in flag.words.iter_mut().enumerate() {
                let (head, value) = match word.split_once('=') {
                    Some((head, value)) if index == 0 => (format!("{head}="), value),
                    _ if index == 0 => continue,
                    _ => (String::new(), word.as_str()),
                };
                if let Some((value, path)) =
                    files::absolute(&flag.name, field.as_deref(), value, directory, there)
                {
                    *word = format!("{head}{value}");
                    found.push(path);
                } else if let Some(named) = files::repository(&flag.name, field.as_deref(), value) {
                    repositories.push((flag.name.clone(), named));
                }
            }
        }
        (found, repositories)
    }

    /// The flags that neither a key of the profile says, nor the store. Those that no profile takes are left out, and
    /// said.
    fn others(&self, notes: &mut Vec<String>) -> Vec<String> {
        let known = |name: &str| {
            [&KEYS[..], &SOURCES, &OFFLOAD].iter().any(|names| names.contains(&name)) || name == "--hf-token"
        };
        let others = self.flags.iter().filter(|flag| !known(&flag.name));
        let (taken, not): (Vec<_>, Vec<_>) = others
            .partition(|flag| flag.words.iter().all(|word| kept_argument(word)) && kept_argument(&flag.name));
        notes.extend(not.iter().map(|flag| {
            let named = if flag.words.len() > 1 { &flag.words[..2] } else { &flag.words[..] }.join(" ");
            format!(
                "`{named}` cannot be in a profile: generation 1 runs with it, and a deployment from the profile without"
            )
        }));
        taken.into_iter().flat_map(|flag| flag.words.clone()).collect()
    }

    fn remark(&self, served_names: &[String], notes: &mut Vec<String>) {
        if self.values("--hf-token").is_some() {
            notes.push("`--hf-token` is left out, and its value is recorded nowhere".to_owned());
        }
        if served_names.len() > 1 {
            notes.push(format!(
                "it answers to {} names; a deployment from the profile answers to `{}` alone",
                served_names.len(),
                served_names[0]
            ));
        }
        for name in OFFLOAD {
            if self.values(name).is_some() {
                notes.push(format!("`{name}` has no key in a profile: a deployment decides it anew"));
            }
        }
        if let Some(tokenizer) = self.value("--tokenizer")
            && tokenizer != self.model
        {
            notes.push(format!("`--tokenizer {tokenizer}` is not locked: it must stay where it is"));
        }
    }
}

/// Splits a command line into the program with its subcommand, and the arguments.
fn split(argv: &[String]) -> Option<(&[String], &[String])> {
    let named = |word: &String, name: &str| Path::new(word).file_name().is_some_and(|file| file == name);
    let is_vllm = |(index, word): (usize, &String)| {
        named(word, "vllm")
            || word == "vllm.entrypoints.cli.main"
            // The embedded engine, which rehearsals and tests run.
            || word == "engine" && index > 0 && named(&argv[index - 1], "awqdeploy")
    };
    let old = |word: &String| word == OLD_MODULE || word.ends_with("vllm/entrypoints/openai/api_server.py");
    let serve = argv.iter().position(|word| word == "serve");
    let serve = serve.filter(|at| argv[..*at].iter().enumerate().any(is_vllm));
    let at = serve.or_else(|| argv.iter().position(old))?;
    Some(argv.split_at(at + 1))
}

fn is_serve(command: &[String]) -> bool {
    command.last().is_some_and(|word| word == "serve")
}

/// Flags that are known to take exactly one value.
fn takes_one(name: &str) -> bool {
    KEYS.contains(&name) && name != "--served-model-name" || SOURCES.contains(&name)
}

/// Reads a number of tokens, such as `32k`.
fn tokens(text: &str) -> Option<u32> {
    numbers::number(text)?.try_into().ok()
}

fn not_a_number(name: &str, text: &str) -> Problem {
    Problem::new(Kind::Refused, format!("`{name} {text}` is not a number that can be read"))
        .help("start it with a plain number, and adopt it then")
}

fn unclear(word: &str) -> Problem {
    Problem::new(Kind::Refused, format!("`{word}` stands where no flag takes it"))
        .help("start it as `vllm serve MODEL …`, with the model first, and adopt it then")
}

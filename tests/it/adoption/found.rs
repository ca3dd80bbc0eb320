//! Servers that were set up by hand: units, processes, files, variables, in every shape that people give them.

use awqdeploy::domain::{
    adoption::{
        Reading, Seen, config_file,
        files::{Candidate, loaded},
        places::{nowhere, places},
        program::{Member, beside, container_engine, daemon, is_passing, servers},
        standing::Standing,
        unit_file::{left_out, not_followed},
    },
    problem::Kind,
    vllm::version::Version,
};
use std::path::{Path, PathBuf};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn seen(executable: &str, line: &str) -> Seen {
    Seen {
        argv: words(line),
        environment: [].into(),
        directory: "/srv/llm".into(),
        executable: executable.into(),
    }
}

const PYTHON: &str = "/usr/bin/python3.11";
const SERVE: &str = "/opt/v/bin/python3 /opt/v/bin/vllm serve /srv/m --port 8000";

/// Which of these processes, as (number, parent, program, words), are servers.
fn found(processes: &[(i32, i32, &str, &str)]) -> Vec<i32> {
    let seen: Vec<_> = processes.iter().map(|(.., program, line)| seen(program, line)).collect();
    let members: Vec<_> = processes
        .iter()
        .zip(&seen)
        .map(|((pid, parent, ..), seen)| Member { pid: *pid, parent: *parent, seen })
        .collect();
    servers(&members).iter().map(|one| one.pid).collect()
}

#[test]
fn only_python_with_the_words_of_a_server_is_one() {
    assert_eq!(found(&[(1, 0, PYTHON, SERVE)]), [1]);
    assert_eq!(found(&[(1, 0, "/usr/bin/bash", "bash -c exec\\ vllm"), (2, 1, PYTHON, SERVE)]), [2]);
    // A starter of it, and its own copies, are not further servers.
    assert_eq!(found(&[(1, 0, "/usr/bin/uv", "uv run vllm serve /srv/m"), (2, 1, PYTHON, SERVE)]), [2]);
    assert_eq!(found(&[(1, 0, PYTHON, "python3 launch.py vllm serve /srv/m"), (2, 1, PYTHON, SERVE)]), [2]);
    assert_eq!(
        found(&[(1, 0, PYTHON, SERVE), (2, 1, PYTHON, SERVE), (3, 1, PYTHON, "VLLM::EngineCore")]),
        [1]
    );
    let other = SERVE.replace("8000", "8001");
    assert_eq!(
        found(&[(1, 0, "/usr/bin/bash", "bash /opt/two.sh"), (2, 1, PYTHON, SERVE), (3, 1, PYTHON, &other)]),
        [2, 3]
    );
    // A server in a stand-in's place is not the one that is adopted; alone it is.
    let engine = "/opt/awqdeploy engine serve /srv/m --port 8100";
    assert_eq!(found(&[(1, 0, PYTHON, SERVE), (2, 1, "/opt/awqdeploy", engine)]), [1]);
    assert_eq!(found(&[(2, 1, "/opt/awqdeploy", engine)]), [2]);
    // A server that left its unit's main process behind.
    assert_eq!(found(&[(1, 0, "/usr/bin/sleep", "sleep 9"), (7, 0, PYTHON, SERVE)]), [7]);
}

#[test]
fn clients_of_containers_are_no_servers() {
    let command =
        "run --rm --name vllm --env HF_TOKEN=hush -p 8000:8000 vllm/vllm-openai serve owner/m --port 8000";
    for engine in ["docker", "podman", "nerdctl"] {
        let program = format!("/usr/bin/{engine}");
        let line = format!("{program} {command}");
        assert!(found(&[(1, 0, &program, &line)]).is_empty(), "{engine}");
        assert_eq!(container_engine(&seen(&program, &line)), Some(engine));
    }
    assert_eq!(container_engine(&seen("/usr/bin/conmon", "/usr/bin/conmon --api-version 1")), Some("conmon"));
    assert_eq!(container_engine(&seen("/usr/local/bin/docker-29", "docker run x")), Some("docker"));
    assert_eq!(container_engine(&seen(PYTHON, SERVE)), None);
}

#[test]
fn directives_that_are_lost_are_named() {
    let text = "[Unit]\nDescription=vLLM\nAfter=mnt.mount\nRequiresMountsFor=/mnt\n[Service]\nUser=nobody\n# Nice=3\n\
                ExecStartPre=/bin/sh -c 'echo \\\n  Hidden=1'\nExecStart=/opt/v/bin/vllm serve m \\\n  --x=y\nNice=-5\n\
                CPUAffinity=0\nMemoryMax=\nEnvironment=HF_TOKEN=hush\nRuntimeMaxSec=86400\n[Install]\nWantedBy=x.target\n";
    let names = left_out([text, "[Service]\nNice=3\nCPUWeight=50\n"]);
    assert_eq!(
        names,
        ["RequiresMountsFor", "User", "ExecStartPre", "Nice", "CPUAffinity", "RuntimeMaxSec", "CPUWeight"]
    );
}

#[test]
fn units_that_ours_could_not_be_have_words_of_their_own() {
    let file = Path::new("/etc/systemd/system/vllm.service");
    let (what, help) = not_followed("vllm@qwen.service", "simple", file).unwrap();
    assert!(
        what.contains("instance of the template `vllm@.service`") && help.contains("`vllm-qwen.service`")
    );
    assert!(not_followed("vllm.service", "oneshot", file).unwrap().0.contains("`Type=oneshot`"));
    let transient = Path::new("/run/systemd/transient/vllm.service");
    assert!(not_followed("vllm.service", "simple", transient).unwrap().0.contains("`systemd-run`"));
    for kind in ["simple", "exec", "notify", "forking"] {
        assert_eq!(not_followed("vllm.service", kind, file), None);
    }
}

#[test]
fn a_file_of_flags_is_read_as_vllm_reads_it() {
    let file = "model: /srv/m\nport: 6379\nhost: \"127.0.0.1\"\nenforce_eager: true\nenable-prefix-caching: false\n\
                served-model-name: [a, b]\ncompilation-config:\n  level: 3\nrevision:\n";
    let flags = "--model /srv/m --port 6379 --host 127.0.0.1 --enforce-eager --no-enable-prefix-caching \
                 --served-model-name a b --compilation-config {\"level\":3}";
    for (line, wanted) in [
        ("p /o/vllm serve --config c.yaml", format!("p /o/vllm serve {flags}")),
        (
            "p /o/vllm serve m --config c.yaml --port 1",
            format!("p /o/vllm serve m {} --port 1", flags.trim_start_matches("--model /srv/m ")),
        ),
        (
            "p -m vllm.entrypoints.openai.api_server --port 1 --config c.yaml",
            format!("p -m vllm.entrypoints.openai.api_server {flags} --port 1"),
        ),
    ] {
        let argv = words(line);
        assert_eq!(config_file::named(&argv), Some("c.yaml"), "{line}");
        let mut expanded = config_file::expanded(&argv, file, None).unwrap();
        let mut wanted = words(&wanted);
        // The order of keys in the file is nobody's: a later flag on the command line counts.
        assert_eq!(expanded[..3], wanted[..3]);
        expanded.sort();
        wanted.sort();
        assert_eq!(expanded, wanted, "{line}");
        let reading = Reading::of(&Seen {
            argv: config_file::expanded(&argv, file, None).unwrap(),
            ..seen(PYTHON, "")
        })
        .unwrap();
        assert_eq!(reading.listen.port, if line.contains("--port 1") { 1 } else { 6379 });
    }
    for bad in ["- a\n- b\n", "a: [", "just text"] {
        assert_eq!(
            config_file::expanded(&words("p /o/vllm serve --config c"), bad, None).unwrap_err().kind,
            Kind::Refused
        );
    }
}

#[test]
fn paths_become_absolute_and_are_told() {
    let line = "p /o/vllm serve m --chat-template ./t.jinja --tool-parser-plugin=plug.py --lora-modules sql=lora/sql \
                {\"name\":\"b\",\"path\":\"/srv/b\"} --speculative-config {\"model\":\"draft\",\"num_speculative_tokens\":3} \
                --tokenizer owner/tok --generation-config vllm --seed 1";
    let there =
        |path: &Path| ["/srv/llm/draft", "/srv/llm/lora/sql"].iter().any(|known| path == Path::new(known));
    let reading = Reading::beside(&seen(PYTHON, line), None, &there).unwrap();
    let files: Vec<_> = reading.files.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(
        files,
        ["/srv/llm/t.jinja", "/srv/llm/plug.py", "/srv/llm/lora/sql", "/srv/b", "/srv/llm/draft"]
    );
    let argv = reading.serve(Path::new("/p"), Path::new("/store/m")).argv.join(" ");
    for word in [
        "--chat-template /srv/llm/t.jinja",
        "--tool-parser-plugin=/srv/llm/plug.py",
        "sql=/srv/llm/lora/sql",
        "\"model\":\"/srv/llm/draft\"",
        "--tokenizer owner/tok --generation-config vllm --seed 1",
    ] {
        assert!(argv.contains(word), "{word} in {argv}");
    }
    // A template that is no file stays one.
    let inline =
        Reading::beside(&seen(PYTHON, "p /o/vllm serve m --chat-template {{messages}}"), None, &there)
            .unwrap();
    assert!(inline.files.is_empty());
}

#[test]
fn variables_of_what_runs_inside_are_kept_and_every_other_is_named() {
    let variables = [
        ("LMCACHE_LOCAL_CPU", "True"),
        ("UCX_TLS", "tcp"),
        ("RAY_ADDRESS", "x"),
        ("DG_JIT_CACHE_DIR", "/var/x"),
        ("CC", "/usr/bin/gcc-12"),
        ("NIXL_LOG_LEVEL", "INFO"),
        ("HIP_VISIBLE_DEVICES", "0"),
        ("CUDACXX", "/usr/bin/nvcc"),
        ("CCACHE_DIR", "/x"),
        ("VLLM_LOGGING_LEVEL", "DEBUG"),
        ("VLLM_MODEL", "/srv/m"),
        ("VLLM_SERVE_ARGS", "--x"),
        ("XDG_CACHE_HOME", "/var/x"),
        ("HF_TOKEN", "hush"),
        ("HOME", "/root"),
        ("PATH", "/opt/x/bin:/usr/bin"),
    ];
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let seen = Seen { environment, ..seen(PYTHON, "p /o/vllm serve m") };
    let reading = Reading::beside(&seen, Version::of("0.26.0"), &|_| false).unwrap();
    let kept: Vec<_> = reading.environment.keys().map(String::as_str).collect();
    assert_eq!(
        kept,
        [
            "CC",
            "CUDACXX",
            "DG_JIT_CACHE_DIR",
            "HIP_VISIBLE_DEVICES",
            "LMCACHE_LOCAL_CPU",
            "NIXL_LOG_LEVEL",
            "RAY_ADDRESS",
            "UCX_TLS",
            "VLLM_LOGGING_LEVEL"
        ]
    );
    let note = reading.notes.iter().find(|note| note.starts_with("variables are left out")).unwrap();
    for name in ["CCACHE_DIR", "HF_TOKEN", "PATH", "VLLM_MODEL", "VLLM_SERVE_ARGS", "XDG_CACHE_HOME"] {
        assert!(note.contains(&format!("`{name}`")), "{name} in {note}");
    }
    assert!(!note.contains("`HOME`") && !note.contains("hush"));
}

#[test]
fn flags_that_no_profile_takes_stay_in_generation_1() {
    let reading = Reading::of(&seen(PYTHON, "p /o/vllm serve m -dp 2 -tp 2 --enforce-eager")).unwrap();
    assert_eq!(reading.others, ["--enforce-eager"]);
    assert!(
        reading.notes.iter().any(|note| note.starts_with("`-dp 2` cannot be in a profile")),
        "{:?}",
        reading.notes
    );
    assert!(reading.serve(Path::new("/p"), Path::new("/m")).argv.join(" ").contains("-dp 2"));
    let problem = Reading::of(&seen(PYTHON, "p /o/vllm serve m --ssl-keyfile /etc/k.pem")).unwrap_err();
    assert_eq!(problem.kind, Kind::Refused);
    assert!(problem.what.contains("speaks TLS"));
}

#[test]
fn the_bytes_that_are_open_decide_which_folder_is_the_model() {
    let candidate = |path: &str, whole: bool| Candidate {
        path: path.into(),
        files: vec![PathBuf::from(path).join("model.safetensors")],
        whole,
    };
    let open = |path: &str| vec![PathBuf::from(path).join("model.safetensors")];
    let chosen = |candidates: &[Candidate], open: &[PathBuf]| {
        loaded(candidates, open).map(|one| one.path.display().to_string()).unwrap_or_default()
    };
    let both = [candidate("/a", true), candidate("/b", true)];
    assert_eq!(chosen(&both, &[]), "/a");
    assert_eq!(chosen(&both, &open("/b")), "/b");
    assert_eq!(chosen(&both, &open("/draft")), "/a", "a draft model says nothing of this one");
    // A folder of that name without weights is never the model.
    assert_eq!(chosen(&[candidate("/a", false), candidate("/b", true)], &[]), "/b");
    assert_eq!(chosen(&[candidate("/a", false)], &open("/a")), "");
}

/// As `huggingface_hub` and `modelscope` read their variables.
#[test]
fn a_model_is_sought_where_its_variables_say() {
    let seek = |flags: &str, variables: &[(&str, &str)]| {
        let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let seen = Seen { environment, ..seen(PYTHON, &format!("p /o/vllm serve own/m.1 {flags}")) };
        let reading = Reading::of(&seen).unwrap();
        let found: Vec<_> = places(&reading, &seen).iter().map(|place| place.display().to_string()).collect();
        assert_eq!(found[0], "/srv/llm/own/m.1", "a folder comes first");
        (found[1..].join(" "), nowhere(&reading, &seen))
    };
    let home = ("HOME", "/home/ai");
    for (flags, variables, wanted) in [
        ("", &[][..], "/root/.cache/huggingface/hub"),
        ("", &[home][..], "/home/ai/.cache/huggingface/hub"),
        ("", &[home, ("XDG_CACHE_HOME", "/var/x")][..], "/var/x/huggingface/hub"),
        ("", &[("XDG_CACHE_HOME", "/var/x"), ("HF_HOME", "/data/hf")][..], "/data/hf/hub"),
        ("", &[home, ("HF_HOME", "~/hf")][..], "/home/ai/hf/hub"),
        ("", &[("HF_HOME", "hf")][..], "/srv/llm/hf/hub"),
        ("", &[("HF_HOME", "/data/hf"), ("HF_HUB_CACHE", "/data/hub")][..], "/data/hub"),
        ("", &[("HUGGINGFACE_HUB_CACHE", "/data/hub"), ("HF_HOME", "")][..], "/data/hub"),
        ("--download-dir /data/dl", &[][..], "/data/dl /root/.cache/huggingface/hub"),
        (
            "--download_dir=dl",
            &[("VLLM_USE_MODELSCOPE", "0")][..],
            "/srv/llm/dl /root/.cache/huggingface/hub",
        ),
    ] {
        let (found, problem) = seek(flags, variables);
        assert_eq!(found, wanted, "{flags} {variables:?}");
        assert!(problem.kind == Kind::Refused && problem.help.unwrap().contains("`HF_HOME`"));
    }
    for asked in ["True", "true", "1"] {
        let scope = ("VLLM_USE_MODELSCOPE", asked);
        let (found, problem) = seek("", &[scope, ("MODELSCOPE_CACHE", "/data/ms"), ("HF_HOME", "/x")]);
        assert!(found.contains("/data/ms/models/own/m___1") && !found.contains("/x"), "{found}");
        assert!(problem.help.unwrap().contains("`MODELSCOPE_CACHE`"));
        assert!(seek("", &[scope, home]).0.contains("/home/ai/.cache/modelscope/hub/models/own/m.1"));
    }
}

/// As the parsers of vLLM 0.26 and 0.33 read them.
#[test]
fn what_a_file_says_counts_as_far_as_vllm_reads_it() {
    let expanded = |line: &str, file: &str, version: &str| {
        config_file::expanded(&words(line), file, Version::of(version)).unwrap().join(" ")
    };
    let off = "enable-prefix-caching: false\ndisable-log-stats: false\nallowed-media-domains: []\n";
    let line = "p /o/vllm serve m --config c.yaml";
    // `false` counted for nothing before 0.28, and never where there is no `--no-`: vLLM would not start.
    assert_eq!(expanded(line, off, "0.26.0"), "p /o/vllm serve m");
    assert_eq!(expanded(line, off, "0.33.0"), "p /o/vllm serve m --no-enable-prefix-caching");
    // The model of the command line is the one, wherever it stands.
    for (line, wanted) in [
        ("p /o/vllm serve --config c.yaml", "p /o/vllm serve --model file"),
        ("p /o/vllm serve m --config c.yaml", "p /o/vllm serve m"),
        ("p /o/vllm serve --config c.yaml --model=m", "p /o/vllm serve --model=m"),
    ] {
        assert_eq!(expanded(line, "model: file\n", "0.33.0"), wanted);
    }
    assert_eq!(
        config_file::named(&words("p /o/vllm serve m --config=c.yaml")),
        None,
        "vLLM does not read it"
    );
}

/// No word of the command line says what `nice`, `taskset`, `chrt` and `numactl` set.
#[test]
fn how_a_process_runs_is_told_where_ours_would_not() {
    let usual = Standing { cpus: vec![(0, 63)], memory: "default".to_owned(), ..Standing::default() };
    assert!(usual.beyond(&usual).is_empty());
    let bound = Standing { cpus: vec![(0, 15), (32, 32)], memory: "bind:0".to_owned(), nice: -5, policy: 3 };
    assert_eq!(
        bound.beyond(&usual),
        [
            "a nice value of -5",
            "the scheduling policy `batch`",
            "the CPUs 0-15,32 alone",
            "the NUMA policy `bind:0`"
        ]
    );
}

#[test]
fn what_started_it_beside_other_work_is_told_apart() {
    for (program, line, known) in [
        ("/usr/sbin/cron", "/usr/sbin/CRON -f", Some("cron")),
        (
            "/usr/bin/python3.11",
            "/usr/bin/python3 /usr/bin/supervisord -n -c /etc/s.conf",
            Some("supervisord"),
        ),
        ("/usr/sbin/sshd", "sshd: ai@pts/0", Some("sshd")),
        ("/usr/bin/bash", "bash /opt/run.sh", None),
        ("/usr/bin/tmux", "tmux new -d vllm", None),
        (PYTHON, SERVE, None),
    ] {
        assert_eq!(daemon(&seen(program, line)), known, "{line}");
    }
    let (shell, server, proxy) =
        (seen("/usr/bin/bash", "bash run.sh"), seen(PYTHON, SERVE), seen("/usr/sbin/nginx", "nginx"));
    let engine = seen(PYTHON, "VLLM::EngineCore");
    let member = |pid, parent, seen| Member { pid, parent, seen };
    let all = [member(1, 0, &shell), member(2, 1, &server), member(3, 2, &engine), member(4, 1, &proxy)];
    let beside: Vec<_> = beside(&all, 2).iter().map(|one| one.pid).collect();
    assert_eq!(beside, [4], "what led to it and what came of it is part of it");
    for (python, passing) in [
        ("/root/.cache/uv/archive-v0/k3X/bin/python", true),
        ("/data/uv/builds-v0/.tmp1a/bin/python3", true),
        ("/home/ai/.cache/uv/environments-v2/serve-1f/bin/python", true),
        ("/opt/venv/bin/python", false),
    ] {
        assert_eq!(is_passing(Path::new(python)), passing, "{python}");
    }
}

/// Python's `yaml` reads YAML 1.1, in which `yes` and `off` are booleans.
#[test]
fn booleans_of_a_file_are_those_of_python() {
    let file = "enforce-eager: yes\nenable-prefix-caching: off # slow\nasync-scheduling: On\ntrust-request-mm-kwargs: NO\n\
                trust-remote-code: True\nserved-model-name: \"yes\"\nchat-template: |\n  x: yes\n  - no\nseed: 1\n\
                hf-overrides:\n  tie: on\nallowed-origins:\n- off\n- 'on'\n";
    let expanded = config_file::expanded(&words("p /o/vllm serve --config c"), file, None).unwrap();
    for flag in [
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--async-scheduling",
        "--no-trust-request-mm-kwargs",
        "--trust-remote-code",
    ] {
        assert!(expanded.contains(&flag.to_owned()), "{flag} in {expanded:?}");
    }
    let after = |flag: &str| {
        let at = expanded.iter().position(|word| word == flag).unwrap();
        expanded[at + 1].as_str()
    };
    assert_eq!(after("--served-model-name"), "yes");
    assert_eq!(after("--chat-template"), "x: yes\n- no\n");
    assert_eq!(after("--hf-overrides"), r#"{"tie":true}"#);
    assert_eq!(after("--allowed-origins"), "false");
    assert!(expanded.contains(&"on".to_owned()));
}

/// An adapter or a draft model of a hub lies in a cache that no service of ours sees, and nothing locks it.
#[test]
fn adapters_and_drafts_are_folders_that_can_be_locked() {
    let there = |path: &Path| path == Path::new("/srv/llm/owner/draft");
    for (flags, refused) in [
        ("--lora-modules sql=owner/lora", true),
        ("--lora-modules {\"name\":\"a\",\"path\":\"owner/lora\"}", true),
        ("--lora-modules sql=/srv/lora", false),
        ("--speculative-config {\"model\":\"owner/other\"}", true),
        ("--speculative-config {\"model\":\"owner/draft\"}", false),
        ("--speculative-config {\"method\":\"ngram\",\"model\":\"ngram\"}", false),
        ("--speculative-config {\"method\":\"mtp\",\"num_speculative_tokens\":1}", false),
        ("--spec-model owner/other", true),
        ("--spec-model ./owner/other", false),
        ("--tokenizer owner/other", false),
    ] {
        let line = format!("p /o/vllm serve m {flags}");
        let read = Reading::beside(&seen(PYTHON, &line), None, &there);
        assert_eq!(
            read.as_ref().is_err_and(|problem| problem.kind == Kind::Refused),
            refused,
            "{flags}: {read:?}"
        );
    }
}

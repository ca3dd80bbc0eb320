//! Checkpoints as they are found in the wild: what vLLM reads is read, or said to be not modelled.

use crate::{
    as_vllm::{all, differences},
    scratch::tempdir,
};
use awqdeploy::{
    domain::{
        checkpoint::{
            Checkpoint,
            config::ConfigFiles,
            files::{NotAModel, judge, weights},
        },
        vllm::arguments::Arguments,
    },
    host::checkpoint::{self, Presence},
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[expect(clippy::needless_pass_by_value, reason = "what `json!` makes")]
fn llama(more: Value) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128_256,
        "max_position_embeddings": 32768, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn of(config: &Value) -> Checkpoint {
    Checkpoint::of(&config.to_string(), None).unwrap()
}

fn gib(checkpoint: &Checkpoint) -> String {
    checkpoint.weights(1).map_or("none".to_owned(), |weights| weights.to_string())
}

fn beside(name: &str, text: &Value) -> Checkpoint {
    let mut files = ConfigFiles::alone(&llama(json!({})).to_string());
    files.beside.insert(name.to_owned(), text.to_string());
    Checkpoint::of_files(&files, None).unwrap()
}

fn groups() -> Value {
    json!({"group_0": {"targets": ["Linear"], "input_activations": null,
        "weights": {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": true}}})
}

#[test]
fn json_is_read_as_python_reads_it() {
    let text = llama(json!({})).to_string();
    for more in [
        r#""time_step_limit": [0.0, Infinity]"#,
        r#""a": NaN, "b": -Infinity, "c": [NaN]"#,
        r#""a": "NaN, Infinity \" -Infinity", "b": 1e999, "c": -1e999"#,
        r#""hidden_size": 5, "hidden_size": 4096"#,
        r#""hidden_size": 4096.0, "vocab_size": 128256.0"#,
        r#""architectures": ["LlamaForCausalLM"], "x": {"y": [1, {"z": Infinity}]}"#,
    ] {
        let text = text.replacen('}', &format!(", {more}}}"), 1);
        let found = Checkpoint::of(&text, None).unwrap_or_else(|e| panic!("{more}: {e}"));
        assert_eq!(found, of(&llama(json!({}))), "{more}");
    }
}

#[test]
fn a_quantisation_is_found_wherever_it_is_named() {
    let compressed = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": groups(), "ignore": ["lm_head"]});
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false});
    let stored = |found: Checkpoint| {
        let stored =
            found.quantization.as_ref().map(|it| format!("{} {} {}", it.method, it.bits, it.group_size));
        format!("{} {}", stored.unwrap_or_default(), gib(&found))
    };
    let four = "compressed-tensors 4 128 5.3 GiB";
    assert_eq!(stored(of(&llama(json!({"quantization_config": compressed})))), four);
    assert_eq!(stored(of(&llama(json!({"compression_config": compressed})))), four);
    assert_eq!(
        stored(of(&llama(json!({"quantization_config": null, "compression_config": compressed})))),
        four
    );
    for part in ["text_config", "llm_config", "language_config"] {
        assert_eq!(stored(of(&llama(json!({ part: {"quantization_config": compressed} })))), four, "{part}");
    }
    let thinker = json!({"thinker_config": {"text_config": {"quantization_config": compressed}}});
    assert_eq!(stored(of(&llama(thinker))), four);
    // `config.json` counts before what lies beside it.
    assert_eq!(stored(beside("quantize_config.json", &gptq)), "gptq 4 128 5.3 GiB");
    let old = json!({"bits": 4, "group_size": 128, "desc_act": true, "sym": true, "damp_percent": 0.01});
    let found = beside("quantize_config.json", &old);
    assert!(found.quantization.as_ref().unwrap().desc_act);
    assert_eq!(found.quantization.as_ref().unwrap().file.as_deref(), Some("quantize_config.json"));
    assert_eq!(stored(found), "gptq 4 128 5.3 GiB");
    let awq = json!({"zero_point": true, "q_group_size": 128, "w_bit": 4, "version": "GEMM"});
    assert_eq!(stored(beside("quant_config.json", &awq)), "awq 4 128 5.3 GiB");
    let modelopt = |algorithm: &str| json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": algorithm}});
    for (algorithm, method) in
        [("FP8", "modelopt"), ("NVFP4", "modelopt-fp4"), ("MIXED_PRECISION", "modelopt-mixed")]
    {
        let found = beside("hf_quant_config.json", &modelopt(algorithm));
        assert_eq!(found.quantization.unwrap().method, method);
    }
    for keys in [json!({"w_bit": 4, "q_group_size": 128}), json!({"bits": 4, "group_size": 128})] {
        let mut awq = json!({"quant_method": "awq", "zero_point": true, "version": "gemm"});
        awq.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        assert_eq!(stored(of(&llama(json!({"quantization_config": awq})))), "awq 4 128 5.3 GiB");
    }
}

#[test]
fn schemes_without_weights_are_sixteen_bits() {
    let cache =
        json!({"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false, "symmetric": true});
    for (more, sparse, in_8_bits) in [
        (json!({"config_groups": {}}), false, false),
        (json!({"config_groups": null}), false, false),
        (json!({}), false, false),
        (json!({"config_groups": {}, "kv_cache_scheme": cache}), false, true),
        (
            json!({"config_groups": {}, "sparsity_config": {"format": "dense", "targets": ["Linear"]}}),
            true,
            false,
        ),
        (json!({"config_groups": {}, "sparsity_config": {"format": "dense", "targets": []}}), false, false),
    ] {
        let mut stored = json!({"quant_method": "compressed-tensors", "ignore": [], "format": "dense"});
        stored.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = of(&llama(json!({"quantization_config": stored})));
        assert_eq!(gib(&found), "15.0 GiB", "{more}");
        let quantization = found.quantization.unwrap();
        assert_eq!((quantization.sparse, quantization.cache_in_8_bits), (sparse, in_8_bits), "{more}");
    }
    let modelopt =
        json!({"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16}});
    assert!(beside("hf_quant_config.json", &modelopt).quantization.unwrap().cache_in_8_bits);
}

#[test]
fn what_is_not_understood_is_not_modelled_and_no_error() {
    for (more, why) in [
        (json!({"num_hidden_layers": null}), "`config.json` leaves out `num_hidden_layers`"),
        (json!({"num_key_value_heads": [8, 8, 4]}), "one of its dimensions is no number"),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": "four"}}),
            "it writes `gptq` in a way of its own",
        ),
        (json!({"quantization_config": {"quant_method": "new"}}), "its quantisation `new` is not modelled"),
        (json!({"quantization_config": {"bits": 4}}), "its quantisation `unnamed` is not modelled"),
        (
            json!({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups(), "ignore": ["re:("]}}),
            "the pattern `(` of its quantisation cannot be read here",
        ),
        (
            json!({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups(),
                "sparsity_config": {"format": "sparse-24-bitmask", "targets": ["Linear"]}}}),
            "its weights are stored as `sparse-24-bitmask`",
        ),
    ] {
        let found = of(&llama(more.clone()));
        assert_eq!(found.unmodelled.as_deref(), Some(why), "{more}");
        assert_eq!(gib(&found), "none", "{more}");
    }
}

#[test]
fn a_context_is_as_long_as_vllm_derives_it() {
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    for (more, written, longest) in [
        (json!({}), 32768, 32768),
        (json!({"rope_scaling": yarn}), 32768, 131_072),
        (json!({"rope_scaling": yarn, "max_position_embeddings": 131_072}), 131_072, 131_072),
        (json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e6}}), 32768, 65536),
        (
            json!({"rope_parameters": {"full_attention": yarn, "sliding_attention": {"rope_type": "default"}}}),
            32768,
            131_072,
        ),
        (json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}), 65536, 65536),
        (json!({"rope_scaling": {"rope_type": "dynamic", "factor": 8.0}}), 262_144, 262_144),
        (json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}), 32768, 32768),
        (json!({"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}), 32768, 32768),
        (json!({"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}), 32768, 32768),
        (json!({"rope_scaling": null, "seq_length": 8192}), 8192, 8192),
        (json!({"model_max_length": 65536}), 65536, 65536),
    ] {
        let shape = of(&llama(more.clone())).shape.unwrap();
        assert_eq!((shape.max_position_embeddings, shape.longest_context()), (written, longest), "{more}");
    }
}

#[test]
fn a_command_line_changes_the_configuration() {
    let with = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let mut files = ConfigFiles::alone(&llama(json!({})).to_string());
        files.overrides = Arguments::of(&arguments).overrides().clone();
        Checkpoint::of_files(&files, None).unwrap().shape.unwrap().longest_context()
    };
    let yarn = r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}"#;
    assert_eq!(with(&[]), 32768);
    assert_eq!(with(&["--hf-overrides", &format!(r#"{{"rope_parameters": {yarn}}}"#)]), 131_072);
    assert_eq!(with(&[&format!("--rope-scaling={yarn}")]), 131_072);
    assert_eq!(with(&["--hf-overrides.max_position_embeddings", "65536"]), 65536);
    assert_eq!(with(&["--hf_overrides", r#"{"max_position_embeddings": 65536}"#]), 65536);
    assert_eq!(with(&["--hf-overrides", "no JSON"]), 32768);
    let fields = |flag: &str| {
        let field = |name: &str, value: &str| [format!("{flag}.{name}"), value.to_owned()];
        let fields = [
            field("rope_type", "yarn"),
            field("factor", "4"),
            field("original_max_position_embeddings", "32768"),
        ];
        fields.concat()
    };
    for flag in ["--rope-scaling", "--hf-overrides.rope_parameters"] {
        let words = fields(flag);
        assert_eq!(with(&words.iter().map(String::as_str).collect::<Vec<_>>()), 131_072, "{flag}");
    }
    // Of whole ones the last counts alone.
    let two = [r#"{"max_position_embeddings": 65536}"#, r#"{"vocab_size": 9}"#];
    assert_eq!(with(&["--hf-overrides", two[0], "--hf-overrides", two[1]]), 32768);
}

#[test]
fn heads_are_found_in_models_with_more_parts() {
    for (config, heads) in [
        (json!({"num_attention_heads": 28}), Some(28)),
        (json!({"text_config": {"num_attention_heads": 40}, "num_attention_heads": 16}), Some(40)),
        (json!({"thinker_config": {"text_config": {"num_attention_heads": 28}}}), Some(28)),
        (json!({"llm_config": {"num_attention_heads": 14}}), Some(14)),
        (json!({"n_head": 20}), Some(20)),
        (json!({}), None),
    ] {
        let mut config = config;
        config["architectures"] = json!(["SomethingForConditionalGeneration"]);
        assert_eq!(of(&config).attention_heads, heads, "{config}");
    }
}

#[test]
fn one_set_of_weights_is_chosen() {
    let chosen = |names: &[&'static str]| weights(names.iter().copied()).join(" ");
    assert_eq!(chosen(&["model.safetensors", "consolidated.safetensors"]), "model.safetensors");
    assert_eq!(
        chosen(&["consolidated.00.safetensors", "consolidated.01.safetensors"]),
        "consolidated.00.safetensors consolidated.01.safetensors"
    );
    assert_eq!(chosen(&["pytorch_model.bin", "training_args.bin", "optimizer.pt"]), "pytorch_model.bin");
    assert_eq!(chosen(&["model.safetensors", "pytorch_model.bin"]), "model.safetensors");
    assert_eq!(chosen(&["original/consolidated.00.pth", "adapter_model.safetensors"]), "");
}

#[test]
fn what_is_no_model_is_named() {
    let told = |names: &[&'static str], index: Option<&[&'static str]>| {
        judge(names.iter().copied(), index.map(|index| index.iter().copied())).map_err(|why| why.to_string())
    };
    let is = |what: NotAModel| Err(what.to_string());
    assert_eq!(told(&["params.json", "consolidated.safetensors"], None), is(NotAModel::Mistral));
    assert_eq!(told(&["adapter_config.json", "adapter_model.safetensors"], None), is(NotAModel::Adapter));
    assert_eq!(told(&["model.safetensors"], None), is(NotAModel::NoConfig));
    assert_eq!(told(&["config.json"], None), is(NotAModel::NoWeights));
    assert_eq!(told(&["config.json", "model-Q4_K_M.gguf"], None), is(NotAModel::Gguf));
    assert_eq!(told(&["config.json", "model.safetensors"], None), Ok(()));
    assert_eq!(told(&["config.json", "pytorch_model.bin"], None), Ok(()));
    let shards: &[&str] = &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(
        told(&["config.json", shards[0]], Some(shards)),
        Err("its index names `model-00002-of-00002.safetensors`, which it lacks".to_owned())
    );
}

/// A file of these 16-bit tensors of four numbers each, without its data.
fn header(names: &[&str]) -> Vec<u8> {
    let tensors: serde_json::Map<_, _> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let tensor = json!({"dtype": "F16", "shape": [2, 2], "data_offsets": [8 * at, 8 * at + 8]});
            ((*name).to_owned(), tensor)
        })
        .collect();
    let json = Value::Object(tensors).to_string();
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}

#[test]
fn a_tensor_in_two_files_is_counted_once() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("config.json"), llama(json!({})).to_string()).unwrap();
    std::fs::write(path("model-1.safetensors"), header(&["model.embed_tokens.weight", "model.norm.weight"]))
        .unwrap();
    std::fs::write(path("model-2.safetensors"), header(&["lm_head.weight", "model.norm.weight"])).unwrap();
    std::fs::write(path("consolidated.safetensors"), header(&["tok_embeddings.weight"])).unwrap();
    let found = checkpoint::read(folder.path(), Presence::Headers).unwrap().unwrap();
    assert_eq!((found.weights(1).unwrap().0, found.files_total.unwrap().0), (24, 24));
    assert!(checkpoint::check(folder.path()).is_ok());

    // An index counts it once, or as often as it is stored; neither says that a file is of another revision.
    for (total, by_index) in [(24, 24), (32, 24), (40, 40)] {
        let index = json!({"metadata": {"total_size": total}, "weight_map": {
            "model.embed_tokens.weight": "model-1.safetensors", "model.norm.weight": "model-1.safetensors",
            "lm_head.weight": "model-2.safetensors"}});
        std::fs::write(path("model.safetensors.index.json"), index.to_string()).unwrap();
        let found = checkpoint::read(folder.path(), Presence::Headers).unwrap().unwrap();
        assert_eq!((found.files_total.unwrap().0, found.by_index.unwrap().0), (24, by_index), "{total}");
    }
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    std::fs::write(path("config.json"), llama(json!({})).to_string()).unwrap();
    std::fs::write(path("model.safetensors"), pointer).unwrap();
    let told = |problem: awqdeploy::domain::problem::Problem| {
        (problem.what.replace(folder.path().to_str().unwrap(), "M"), problem.help)
    };
    let (what, help) = told(checkpoint::check(folder.path()).unwrap_err());
    assert_eq!(
        what,
        "`M` holds no model that can be served: `model.safetensors` is a pointer of Git LFS, not the file"
    );
    let (read, same_help) = told(checkpoint::read(folder.path(), Presence::Headers).unwrap_err());
    assert_eq!(read, "`M/model.safetensors` cannot be served: it is a pointer of Git LFS, not the file");
    assert_eq!(help, same_help);
    std::fs::write(path("config.json"), pointer).unwrap();
    let problem = Checkpoint::of(pointer, None).unwrap_err();
    assert!(problem.help.unwrap().contains("git lfs pull"));
}

/// A configuration that vLLM's own classes accept is read as they read it, or is not modelled.
#[test]
fn configurations_are_read_as_vllm_reads_them() {
    let found = all();
    assert!(found.len() > 90, "{}", found.len());
    let wrong: Vec<_> = found.iter().flat_map(|one| differences(one, &one.vllm)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    /// Whatever else a configuration says, and in whatever values Python's JSON has: a configuration that vLLM's class
    /// accepts is read, or not modelled.
    #[test]
    fn no_configuration_of_a_complete_download_is_an_error(
        key in "[a-z_]{1,24}",
        value in prop::sample::select(vec!["null", "NaN", "-Infinity", "1e999", "[]", "{}", "\"x\"", "4096.5", "true", "[1, null]"]),
        known in prop::sample::select(vec!["hidden_size", "num_key_value_heads", "rope_scaling", "rope_parameters",
            "quantization_config", "compression_config", "text_config", "torch_dtype", "layer_types", "tie_word_embeddings",
            "max_position_embeddings", "head_dim", "vision_config", "mlp_only_layers"]),
    ) {
        let text = llama(json!({})).to_string();
        let open = text.strip_suffix('}').unwrap();
        // An absurd dimension is one to vLLM too.
        let text = format!("{open}, \"x_{key}\": {value}, \"{known}\": {value}}}");
        let found = Checkpoint::of(&text, None);
        prop_assert!(found.is_ok(), "{text}: {}", found.unwrap_err());
    }
}

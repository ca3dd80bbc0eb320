//! `report` and `compare`: evidence of real activations, shown.

use crate::stand::{NEW, OLD, PROGRAM, Stand};
use serde_json::Value;
use std::{fs, process::Command, time::Duration};

/// The program on this root: its exit status and standard output.
fn run(stand: &Stand, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM)
        .arg("--root")
        .arg(stand.context.layout().root())
        .args(arguments)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

fn migrated() -> Stand {
    let mut stand = Stand::serving();
    let baseline = "warmups = 0\n[validation.baseline]\nprofile = \"gptq\"\nmin-ratio = 0.01\n\
        [validation.quality]\nmin-known-answers = 0.8\n";
    stand.write_profile(NEW, "warmups = 0\n", baseline);
    stand.deploy(NEW).unwrap();
    stand.serves(NEW);
    stand
}

#[test]
fn a_page_needs_nothing_else() {
    let stand = migrated();
    let file = stand.path("report.html");
    let (code, said) = run(&stand, &["report", "--html", file.to_str().unwrap()]);
    assert_eq!((code, said.as_str()), (0, ""));
    let page = fs::read_to_string(&file).unwrap();
    for told in [
        "awq (generation 2)",
        "✓ passed",
        "Gates",
        "decode over gptq",
        "nothing served for",
        "Time between two tokens",
        "30 of 30 right",
        "validate",
        "<code>chat-stream-role-first</code>",
        "prefers-color-scheme:dark",
        "@media print",
        "name=\"viewport\"",
        "measured just before, on this host",
    ] {
        assert!(page.contains(told), "the page does not tell `{told}`");
    }
    assert!(page.matches("<svg").count() >= 4, "charts are missing");
    // The one URL is the name of SVG's vocabulary, which nobody asks for.
    let asking = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "<script", "<link", "@import", "url(", "src="] {
        assert!(!asking.contains(outside), "the page asks for something outside: `{outside}`");
    }
    // No colour that the style sheet does not know, which would be invisible in the dark.
    for attribute in ["fill=\"#", "stroke=\"#"] {
        for (at, _) in page.match_indices(attribute) {
            let colour = &page[at + attribute.len()..at + attribute.len() + 6];
            assert!(["010101", "020202", "030303"].contains(&colour), "{colour}");
        }
    }
}

#[test]
fn a_failed_activation_is_told_too() {
    let mut stand = Stand::serving();
    stand.write_profile(NEW, "TOKENS_PER_SECOND = \"200\"", "FAULT = \"error-stream\"");
    stand.deploy(NEW).unwrap();
    let file = stand.path("report.html");
    let (code, text) = run(&stand, &["report", "2", "--json", "--html", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["schema"], "awqdeploy/report/v1");
    assert_eq!(document["verdict"], "fail");
    assert_eq!(document["returned"]["profile"], OLD);
    let phases: Vec<_> =
        document["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(phases[..5], ["stop", "point", "start", "validate", "back: stop"]);
    let page = fs::read_to_string(&file).unwrap();
    for told in
        ["✗ failed", "reported an error in the middle of the stream", "The running server", "back: start"]
    {
        assert!(page.contains(told), "the page does not tell `{told}`");
    }

    let (code, text) = run(&stand, &["report", "2"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("# awq (generation 2): fail\n"), "{text}");
    for told in ["| gate | wanted |", "| | planned | seen |", "| back: start |"] {
        assert!(text.contains(told), "{text}");
    }
    let (code, text) = run(&stand, &["report", "7"]);
    assert_eq!(code, 2);
    assert!(text.contains("generation 7 was never activated"), "{text}");
}

#[test]
fn profiles_are_set_side_by_side() {
    let stand = migrated();
    let (code, text) = run(&stand, &["compare", "gptq", "awq", "--json"]);
    assert_eq!(code, 0, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["schema"], "awqdeploy/comparison/v1");
    assert_eq!(document["generations"], serde_json::json!([1, 2]));
    let rows = document["rows"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let decode = row("decode, one stream");
    let [ours, theirs] = [0, 1].map(|of| decode["values"][of]["median"].as_f64().unwrap());
    assert!((decode["ratio"].as_f64().unwrap() - theirs / ours).abs() < 1e-9);
    for bound in ["ratio_low", "ratio_high"] {
        assert!(decode[bound].as_f64().unwrap() > 0.0, "{decode:#}");
    }
    // The report is kept with the activation that proved the second.
    let kept = document["kept"].as_str().unwrap();
    assert!(kept.ends_with("/activations/2/against-1.json"), "{kept}");
    let stored: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    assert_eq!([&stored["rows"], &stored["generations"]], [&document["rows"], &document["generations"]]);
    // Nothing served before the first: there is no downtime to compare with.
    assert_eq!(row("nothing served for")["values"][0], Value::Null);
    assert!(row("nothing served for")["values"][1].as_f64().unwrap() > 0.0);
    assert_eq!(row("known answers")["values"], serde_json::json!([null, 30.0]));

    let (code, text) = run(&stand, &["compare", "gptq", "awq"]);
    assert_eq!(code, 0);
    for told in ["TPOT", "nothing served for", "kept in "] {
        assert!(text.contains(told), "{text}");
    }
    // Whoever is at work is not disturbed, and the comparison is shown all the same.
    let at_work = stand.context.store.writer(Duration::ZERO, "deploy").unwrap();
    let (code, text) = run(&stand, &["compare", "gptq", "awq"]);
    assert_eq!(code, 0);
    assert!(text.contains("TPOT") && text.contains("this comparison is not kept"), "{text}");
    drop(at_work);
    let (code, text) = run(&stand, &["compare", "gptq", "fp16"]);
    assert_eq!(code, 2);
    assert!(text.contains("`fp16` was never proven on this host"), "{text}");
}

/// A sweep of before sent one text to all streams, which then shared what they read.
#[test]
fn streams_of_other_prompts_have_no_ratio() {
    let stand = migrated();
    let old = stand.context.layout().root().join("activations/1/report.json");
    let mut report: Value = serde_json::from_str(&fs::read_to_string(&old).unwrap()).unwrap();
    report["sweep"].as_object_mut().unwrap().remove("source").unwrap();
    fs::write(&old, report.to_string()).unwrap();
    let (code, text) = run(&stand, &["compare", "gptq", "awq", "--json"]);
    assert_eq!(code, 0, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    let ratio = |name: &str| {
        let rows = document["rows"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{text}"))["ratio"].clone()
    };
    assert!(ratio("decode, one stream").is_number() && ratio("throughput, 1 stream").is_number());
    assert_eq!(ratio("throughput, 2 streams"), Value::Null);
    let (_, text) = run(&stand, &["compare", "gptq", "awq"]);
    assert!(text.contains("not compared: several streams: the two were sent different prompts"), "{text}");
}

//! Spelling: the word that a person may have meant.

use awqdeploy::domain::spelling::{closest, listed};

#[test]
fn offers_what_was_likely_meant_and_nothing_else() {
    let names = ["awq", "gptq", "gptq-cpu"];
    for (word, meant) in [
        ("gtpq", Some("gptq")),
        ("gptq_cpu", Some("gptq-cpu")),
        ("aqw", Some("awq")),
        ("llama", None),
        ("", None),
    ] {
        assert_eq!(closest(word, names), meant, "{word}");
    }
}

#[test]
fn lists_read_as_english() {
    assert_eq!(listed([]), "");
    assert_eq!(listed(["a"]), "`a`");
    assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
}

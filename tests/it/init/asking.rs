//! Questions that only a person can answer are asked of a person, at a terminal.

use super::{ANSWERS, Site, cards_of_24_gb, checkpoints::QWEN3_8B_AWQ};
use crate::terminal::{Cursor, Left, Terminal};

const DOWN: &str = "\x1b[B";
const CTRL_C: &str = "\x03";

fn at_terminal(site: &Site, arguments: &[&str]) -> Terminal {
    let own = |name: &str| site.path(name).display().to_string();
    let variables = [
        ("AWQDEPLOY_ROOT", own("root")),
        ("AWQDEPLOY_PROFILES", own("profiles")),
        ("HF_HOME", own("hf")),
        ("HF_HUB_OFFLINE", "1".to_owned()),
    ];
    Terminal::start(100, &[&["init"], arguments].concat(), &variables)
}

/// A site with a model, and facts of a host with one card.
fn site() -> (Site, String, String) {
    let site = Site::new();
    let model = site.model("model", &QWEN3_8B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    (site, model, facts)
}

#[test]
fn a_person_is_asked_for_the_model() {
    let (site, model, facts) = site();
    let mut terminal = at_terminal(&site, &["--from", &model, "--facts", &facts]);
    terminal.wait_for("which model?");
    terminal.press("Qwen/Qwen3-8B-AWQ\r");
    let Left { code, screen, cursor } = terminal.end();
    assert_eq!((code, cursor), (Some(0), Cursor::Ready), "{screen}");
    assert!(site.text("profiles/qwen3-8b-awq.toml").contains("repo = \"Qwen/Qwen3-8B-AWQ\""));
}

#[test]
fn a_person_chooses_what_is_replaced() {
    let (site, model, facts) = site();
    for name in ["one", "two"] {
        let port = if name == "one" { "8001" } else { "8002" };
        let said = site.init(&["Qwen/Qwen3-8B-AWQ", "--from", &model, "--facts", &facts, "--name", name]);
        said.text();
        let path = format!("profiles/{name}.toml");
        let text = site.text(&path).replace("port = 8000", &format!("port = {port}"));
        std::fs::write(site.path(&path), text).unwrap();
    }
    let other = ["--migrate-to", "owner/other", "--from", &model, "--facts", &facts];
    let mut terminal = at_terminal(&site, &other);
    terminal.wait_for("which profile is to be replaced?");
    terminal.wait_for("two");
    terminal.press(&format!("{DOWN}\r"));
    let Left { code, screen, cursor } = terminal.end();
    assert_eq!((code, cursor), (Some(0), Cursor::Ready), "{screen}");
    assert!(
        site.text("profiles/other.toml").contains("profile = \"two\""),
        "{}",
        site.text("profiles/other.toml")
    );
}

#[test]
fn ctrl_c_at_a_question_changes_nothing_and_leaves_a_cursor() {
    let (site, model, facts) = site();
    let mut terminal = at_terminal(&site, &["--from", &model, "--facts", &facts]);
    terminal.wait_for("which model?");
    terminal.press(CTRL_C);
    let Left { code, screen, cursor } = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    assert_ne!(cursor, Cursor::Hidden, "{screen}");
    assert!(!site.path("profiles").exists() && !site.path("root").exists());
}

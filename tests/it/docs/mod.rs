//! The documents say what the program does. Parts of them are made from it, the examples of JSON have the
//! shape of what it prints, and the commands in them are ones that it knows.
//!
//! `AWQDEPLOY_UPDATE_DOCS=1 cargo test --test it docs` writes what has changed; read the diff.

mod examples;
mod made;
mod scenes;
pub(crate) mod schemas;

use awqdeploy::domain::exit_status::ExitStatus;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where this is set, what differs is written instead of reported.
const UPDATE: &str = "AWQDEPLOY_UPDATE_DOCS";

/// Everything that a person reads: the pages at the root and those below `docs`. What happened once is no promise.
fn pages() -> Vec<String> {
    fn below(folder: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(at_root(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let is_page = Path::new(&path).extension().is_some_and(|extension| extension == "md");
            if is_page && path != "CHANGELOG.md" {
                found.push(path);
            } else if folder.starts_with("docs") && at_root(&path).is_dir() {
                below(&path, found);
            }
        }
    }
    let mut found = vec![];
    below("", &mut found);
    below("docs", &mut found);
    found.sort();
    found
}

fn at_root(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(page)
}

fn page(page: &str) -> String {
    fs::read_to_string(at_root(page)).unwrap_or_else(|e| panic!("{page}: {e}"))
}

/// Reports a page that is not as it should be, or makes it so.
fn settle(name: &str, is: &str, should: &str) {
    if is == should {
        return;
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(at_root(name), should).unwrap();
        return;
    }
    let diff = similar::TextDiff::from_lines(is, should);
    let diff = diff.unified_diff().context_radius(2).header("is", "should be").to_string();
    panic!("{name} is out of date; `{UPDATE}=1 cargo test --test it docs` writes it\n{diff}");
}

/// Runs the program away from every profile and root of this machine.
fn awqdeploy(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = crate::program::awqdeploy(arguments);
    command.current_dir("/").env("NO_COLOR", "1");
    command
}

fn printed(arguments: &[&str]) -> String {
    String::from_utf8(awqdeploy(arguments).stdout).unwrap()
}

/// The commands of the program, in the order in which its help lists them.
fn commands() -> Vec<String> {
    let help = printed(&["help"]);
    let list = help.split("Commands:\n").nth(1).expect("help lists commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut dead = vec![];
    for name in &pages() {
        let text = page(name);
        let folder = at_root(name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() { at_root(name) } else { folder.join(file) };
            let there = match heading {
                "" => target.exists(),
                heading => fs::read_to_string(&target).is_ok_and(|text| has(&text, heading)),
            };
            if !there {
                dead.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Whether a page has a heading with this anchor, as forges make them.
fn has(text: &str, anchor: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings.map(anchor_of).any(|own| own == anchor)
}

fn anchor_of(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

/// Each call of the program names a command, options and faults that it has.
#[test]
fn commands_are_known() {
    let known = Known::now();
    let mut unknown = vec![];
    let mut seen = 0;
    for name in &pages() {
        for call in calls(&page(name)) {
            seen += 1;
            unknown.extend(known.strange(&call).map(|word| format!("{name}: `{word}` in `{call}`")));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen > 50, "only {seen} calls of the program were found in the documents");
}

/// The words after each `awqdeploy` that begins a command, in code.
fn calls(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.extend(call(line));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).filter_map(call));
        }
    }
    found
}

fn call(code: &str) -> Option<String> {
    let code = code.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
    let begin = ["awqdeploy ", "cargo run --locked -- ", "nix run . -- "];
    let rest = begin.iter().find_map(|begin| code.strip_prefix(begin))?;
    rest.split(['|', '>', '#', ';', '<']).next().map(|rest| rest.trim().to_owned())
}

/// The words of the program.
struct Known {
    /// Each command with its help.
    commands: Vec<(String, String)>,
    faults: Vec<String>,
}

impl Known {
    fn now() -> Self {
        let with_help = |name: String| {
            let help = printed(&["help", &name]);
            (name, help)
        };
        let faults = printed(&["rehearse", "--list-faults"]);
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        Self {
            commands: commands().into_iter().map(with_help).collect(),
            faults: faults.lines().filter_map(first).collect(),
        }
    }

    /// The first word of a call that the program does not know.
    fn strange(&self, call: &str) -> Option<String> {
        let mut words = call.split_whitespace().peekable();
        // Options of every command may come first, each with its value.
        while words.next_if(|word| word.starts_with("--")).is_some() {
            words.next();
        }
        let command = words.next()?;
        let Some((_, help)) = self.commands.iter().find(|(name, _)| name == command) else {
            let placeholder = command.starts_with('…') || command.chars().all(char::is_uppercase);
            return (!placeholder && !["supervise", "activate"].contains(&command))
                .then(|| command.to_owned());
        };
        let mut before = "";
        for word in words {
            let option = word.split('=').next().unwrap_or(word);
            if option.starts_with("--") && !help.contains(option) {
                return Some(word.to_owned());
            }
            let is_fault = before == "--fault" && word.chars().any(char::is_lowercase);
            if is_fault && !self.faults.iter().any(|fault| fault == word) {
                return Some(word.to_owned());
            }
            before = word;
        }
        None
    }
}

/// The README's table and the program's help have the same exit statuses.
#[test]
fn exit_statuses_are_told() {
    let help = printed(&["help", "deploy"]);
    let statuses = help.split("Exit status:\n").nth(1).expect("the help of deploy has exit statuses");
    let told: Vec<&str> = statuses.lines().take(ExitStatus::ALL.len()).collect();
    let text = page("README.md");
    let table = text.split("\n## Exit statuses\n").nth(1).expect("the README has a part on exit statuses");
    let rows = table.lines().skip_while(|line| !line.starts_with("|--")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let row = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        format!("{:>3}  {}", cells[1], cells[2])
    };
    assert_eq!(rows.map(row).collect::<Vec<_>>(), told);
    let known = ExitStatus::ALL.map(|status| format!("{:>3}  {}", status.code(), status.meaning()));
    assert_eq!(told, known);
}

#[test]
fn the_documents_can_be_wrong() {
    let known = Known::now();
    let text = "Run `awqdeploy depoly awq`, or\n```\n$ sudo awqdeploy deploy awq --force\nawqdeploy rehearse --fault flood\n```\n";
    let found: Vec<_> = calls(text).iter().filter_map(|call| known.strange(call)).collect();
    assert_eq!(found, ["depoly", "--force", "flood"]);
    assert_eq!(known.strange("--root /srv deploy awq --yes"), None);
    assert!(has("# A\n## Exit statuses\n", "exit-statuses"));
    assert!(!has("exit-statuses\n", "exit-statuses"));
}

/// A table that names its tests is worth no more than they are there.
#[test]
fn tests_that_are_named_are_there() {
    let mut named = 0;
    let mut missing = vec![];
    for name in &pages() {
        for code in page(name).split('`').skip(1).step_by(2) {
            let there = match code.split_once(": ") {
                Some((suite @ ("it" | "systemd"), path)) => has_test(&format!("tests/{suite}"), path),
                Some(("faults", words)) => ["scenes", "persons", "played"].iter().any(|file| {
                    let quoted = format!("\"{words}");
                    page(&format!("tests/faults/{file}.rs")).contains(&quoted)
                }),
                _ => continue,
            };
            named += 1;
            if !there {
                missing.push(format!("{name}: {code}"));
            }
        }
    }
    assert!(named > 30 && missing.is_empty(), "of {named} these are nowhere: {missing:#?}");
}

/// Whether a module or test of this path is below a folder of tests.
fn has_test(folder: &str, path: &str) -> bool {
    let (parents, last) = path.rsplit_once("::").unwrap_or(("", path));
    let place = |path: &str| format!("{folder}/{}", path.replace("::", "/"));
    let text = |path: &str| {
        let files = [format!("{}.rs", place(path)), format!("{}/mod.rs", place(path))];
        files.iter().find_map(|file| fs::read_to_string(at_root(file)).ok())
    };
    let module = text(path).is_some_and(|text| text.contains("#[test]") || text.contains("mod "));
    module || text(parents).is_some_and(|text| text.contains(&format!("fn {last}")))
}

//! Prints completion scripts and the manual page, from the definition of the command line.

use crate::{
    cli::{
        args::{Arguments, exit_statuses},
        terminal::print,
    },
    domain::{exit_status::ExitStatus, problem::Problem},
};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "awqdeploy", &mut text);
    print(&String::from_utf8_lossy(&text));
}

/// Prints the manual page.
pub(crate) fn manual() -> Result<ExitStatus, Problem> {
    let text = page().map_err(|e| Problem::doing("write the manual page", e))?;
    print(&String::from_utf8_lossy(&text));
    Ok(ExitStatus::Done)
}

/// The pages of the program and of each command that is not hidden.
fn page() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let command = Arguments::command().after_long_help(None).disable_help_subcommand(true);
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = subcommand.get_name().to_owned();
        text.extend_from_slice(format!(".SH \"awqdeploy {name}\"\n").as_bytes());
        let page = clap_mangen::Man::new(subcommand.clone());
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
    }
    let statuses =
        exit_statuses().lines().skip(1).fold(String::new(), |all, line| all + line.trim() + "\n.br\n");
    text.extend_from_slice(format!(".SH \"EXIT STATUS\"\n{statuses}").as_bytes());
    Ok(text)
}

//! Counts panics of a worker. One that panics is restarted, and rolls back. After too many panics a person is
//! needed: it would panic for ever.

use crate::{
    domain::{problem::Problem, store::layout::Layout},
    host::os::fs,
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
};

/// The panics in one activation after which it is given up.
const MOST: usize = 3;
/// The file of panics, a line each, in the activation's folder.
const FILE: &str = "panics";

/// Runs `work` for this activation. A panic is noted, and goes on.
pub(super) fn noting<T>(layout: &Layout, activation: u64, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        // A panic that cannot be noted is not counted.
        let _unnoted = note(layout, activation, &said(&*panic));
        resume_unwind(panic)
    })
}

/// Why the activation is given up, if it is.
pub(super) fn too_often(layout: &Layout, activation: u64) -> Result<Option<String>, Problem> {
    let noted = noted(layout, activation)?;
    let count = noted.lines().count();
    Ok((count >= MOST).then(|| {
        let last = noted.lines().next_back().unwrap_or_default();
        format!("awqdeploy panicked {count} times at it, last with: {last}")
    }))
}

fn note(layout: &Layout, activation: u64, said: &str) -> Result<(), Problem> {
    let noted = noted(layout, activation)?;
    fs::write_unlocked(&file(layout, activation), format!("{noted}{}\n", said.replace('\n', " ")))
}

/// The notes, a line each. Damage costs its line no more than its words.
fn noted(layout: &Layout, activation: u64) -> Result<String, Problem> {
    Ok(fs::read_damaged(&file(layout, activation))?.unwrap_or_default())
}

fn file(layout: &Layout, activation: u64) -> PathBuf {
    layout.activation(activation).join(FILE)
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}

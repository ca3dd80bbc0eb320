//! Reads files into RAM before the old server is stopped, so that nobody waits for them afterwards.

use crate::{
    domain::{
        planning::plan::Plan,
        problem::{Kind, Problem},
        size::ByteSize,
        store::page_cache::{self as room, Back},
    },
    flow::event::{Event, Observer},
    host::{
        machine::{self, page_cache},
        os::signals::Interrupt,
    },
};

/// Reads the candidate's files into the page cache, as far as RAM is free. A failure does not stop the
/// deployment; a signal ends it, as nothing was touched.
pub(super) fn ahead(plan: &Plan, interrupt: &Interrupt, observer: &dyn Observer) -> Result<(), Problem> {
    let read = || {
        let files = page_cache::files(&plan.model.path)?;
        let whole: ByteSize = files.iter().map(|(_, length)| *length).sum();
        let of = room::ahead(whole, machine::ram()?.1);
        if of == ByteSize::default() {
            return Ok(());
        }
        observer.see(Event::Stage(format!("read {of} of {whole} ahead into the page cache")));
        let see = &mut |done| observer.see(Event::Progress { done, of });
        page_cache::read(&files, of, interrupt, see).map(drop)
    };
    match read() {
        Err(problem) if problem.kind != Kind::Interrupted => {
            observer.see(Event::Warning(format!("nothing is read ahead: {}", problem.in_one_line())));
            Ok(())
        }
        read => read,
    }
}

/// Makes room for the old generation's files once the candidate has loaded, if it pushed them out: a rollback
/// then loads as fast as it can.
pub(super) fn for_the_rollback(candidate: &Plan, old: &Plan, interrupt: &Interrupt, observer: &dyn Observer) {
    if candidate.model.path == old.model.path {
        return;
    }
    let warm = || {
        let (new, before) = (page_cache::files(&candidate.model.path)?, page_cache::files(&old.model.path)?);
        let size = |files: &[(_, ByteSize)]| files.iter().map(|(_, length)| *length).sum::<ByteSize>();
        let whole = size(&before);
        match room::back(machine::ram()?.0, candidate.memory.ram, size(&new), whole) {
            Back::BothStay | Back::Read(ByteSize(0)) => Ok(()),
            Back::Read(of) => {
                observer.see(Event::Stage(format!(
                    "read {of} of {whole} of the rollback target into the page cache"
                )));
                page_cache::let_go(&new);
                let see = &mut |done| observer.see(Event::Progress { done, of });
                page_cache::read(&before, of, interrupt, see).map(drop)
            }
        }
    };
    // A signal ends the validation that comes next; a rollback is only slower without this.
    if let Err(problem) = warm()
        && problem.kind != Kind::Interrupted
    {
        observer.see(Event::Warning(format!(
            "nothing is kept warm of the rollback target: {}",
            problem.in_one_line()
        )));
    }
}

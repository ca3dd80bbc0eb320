//! Before each start the service proves that its model is what was locked; a rollback does so before it stops
//! anything.

use crate::{
    domain::{
        plan::PlannedModel,
        problem::{Kind, Problem},
        profile::VerifyAtStart,
        size::Bytes,
    },
    host::{
        check::{self, Checked, Damage},
        memo::Memo,
        signals::Interrupt,
        store::Store,
    },
};

/// Proves a model in the store. Files that are known to be untouched since they were last hashed, by the store's
/// memo or by `own`, are not read, unless the profile wants it so.
///
/// # Errors
/// [`Kind::Unverified`] where anything differs: the engine would load it without a word.
pub fn prove(
    store: &Store,
    model: &PlannedModel,
    own: Memo,
    interrupt: &Interrupt,
    see: &mut dyn FnMut(Bytes, Bytes),
) -> Result<Checked, Problem> {
    let help = "`awqdeploy verify --all --repair` mends what is in the store";
    let digest = model.digest.ok_or_else(|| {
        Problem::new(Kind::Unverified, format!("the model `{}` was never locked", model.repo)).help(help)
    })?;
    let locked = store.model_lock(digest)?;
    let memo = match model.verify_at_start {
        VerifyAtStart::Memo => store.memo()?.or(own),
        VerifyAtStart::Full => Memo::default(),
    };
    let of = locked.size();
    let folder = store.layout().model(digest);
    let checked = check::stored(&folder, &locked, &memo, interrupt, &mut |done| see(done, of))?;
    if checked.damaged.is_empty() { Ok(checked) } else { Err(refused(&checked.damaged).help(help)) }
}

/// Says all in one line: it becomes the service's status.
fn refused(damaged: &[Damage]) -> Problem {
    let first = damaged.first().map(ToString::to_string).unwrap_or_default();
    let others = match damaged.len() - 1 {
        0 => String::new(),
        1 => ", and 1 other file differs".to_owned(),
        others => format!(", and {others} other files differ"),
    };
    Problem::new(Kind::Unverified, format!("the model is not what was locked: {first}{others}"))
}

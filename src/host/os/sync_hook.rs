//! Who wants to know what is on the disk for certain. Nobody does in production: a test that plays power cuts
//! rebuilds from it what a cut may leave, and lets a disk fail.

use std::{cell::RefCell, io, path::Path, rc::Rc};

type Witness = Rc<dyn Fn(&Path) -> io::Result<()>>;

thread_local! {
    static WITNESS: RefCell<Option<Witness>> = const { RefCell::new(None) };
}

/// Listens until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Listening(());

/// Tells `witness` of each file and folder that this thread is about to sync, until the answer is dropped. What it
/// answers is the outcome: the witness is the disk meanwhile, and nothing is synced to the machine's own.
pub fn listen(witness: impl Fn(&Path) -> io::Result<()> + 'static) -> Listening {
    WITNESS.set(Some(Rc::new(witness)));
    Listening(())
}

impl Drop for Listening {
    fn drop(&mut self) {
        WITNESS.set(None);
    }
}

/// The outcome of a sync, where a witness is in the disk's place.
pub(crate) fn tell(path: &Path) -> Option<io::Result<()>> {
    // Not borrowed meanwhile: a witness may end its own listening by a panic.
    let witness = WITNESS.with_borrow(Clone::clone);
    witness.map(|witness| witness(path))
}

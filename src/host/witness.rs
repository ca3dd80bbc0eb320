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

/// Tells `witness` of each file and folder that this thread is about to sync, until the answer is dropped. An error
/// is the outcome of that sync.
pub fn listen(witness: impl Fn(&Path) -> io::Result<()> + 'static) -> Listening {
    WITNESS.set(Some(Rc::new(witness)));
    Listening(())
}

impl Drop for Listening {
    fn drop(&mut self) {
        WITNESS.set(None);
    }
}

/// Called before a sync.
pub(super) fn tell(path: &Path) -> io::Result<()> {
    // Not borrowed meanwhile: a witness may end its own listening by a panic.
    let witness = WITNESS.with_borrow(Clone::clone);
    witness.map_or(Ok(()), |witness| witness(path))
}

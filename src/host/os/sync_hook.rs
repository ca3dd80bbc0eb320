//! Who wants to know what is on the disk for certain. Nobody does in production: a test that plays power cuts
//! rebuilds from it what a cut may leave, and lets a disk fail.

use std::{cell::RefCell, io, path::Path, rc::Rc};

type SyncHook = Rc<dyn Fn(&Path) -> io::Result<()>>;

thread_local! {
    static HOOK: RefCell<Option<SyncHook>> = const { RefCell::new(None) };
}

/// Listens until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct HookGuard(());

/// Tells `hook` of each file and folder that this thread is about to sync, until the answer is dropped. What it
/// answers is the outcome: the hook is the disk meanwhile, and nothing is synced to the machine's own.
pub fn install(hook: impl Fn(&Path) -> io::Result<()> + 'static) -> HookGuard {
    HOOK.set(Some(Rc::new(hook)));
    HookGuard(())
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        HOOK.set(None);
    }
}

/// The outcome of a sync, where a hook is in the disk's place.
pub(crate) fn before_sync(path: &Path) -> Option<io::Result<()>> {
    // Not borrowed meanwhile: a hook may end its own listening by a panic.
    let hook = HOOK.with_borrow(Clone::clone);
    hook.map(|hook| hook(path))
}

//! A hook for each sync. Production has none. A test that plays power cuts learns from it what a cut may
//! leave, and lets the disk fail.

use std::{cell::RefCell, io, path::Path, rc::Rc};

type SyncHook = Rc<dyn Fn(&Path) -> io::Result<()>>;

thread_local! {
    static HOOK: RefCell<Option<SyncHook>> = const { RefCell::new(None) };
}

/// Listens until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct HookGuard(());

/// Tells `hook` of each file and folder that this thread is about to sync, until the guard is dropped. The
/// hook's answer is the outcome, and nothing is synced to the machine's own disk.
pub fn install(hook: impl Fn(&Path) -> io::Result<()> + 'static) -> HookGuard {
    HOOK.set(Some(Rc::new(hook)));
    HookGuard(())
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        HOOK.set(None);
    }
}

/// The outcome of a sync, where a hook replaces the disk.
pub(crate) fn before_sync(path: &Path) -> Option<io::Result<()>> {
    // Not borrowed meanwhile: a hook may panic and end itself.
    let hook = HOOK.with_borrow(Clone::clone);
    hook.map(|hook| hook(path))
}

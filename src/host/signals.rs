//! Ctrl-C and its kin: noted, never acted on here.

use crate::domain::problem::{Kind, Problem};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often a waiting story looks: nobody notices a tenth of a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether somebody asked this process to stop. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP. None of them ends the process any more.
    pub fn listen() -> Result<Self, Problem> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&noted))
                .map_err(|e| Problem::doing("listen for signals", e))?;
        }
        Ok(Self(noted))
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes a request to stop, as a signal would.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits until a signal comes.
    pub async fn arrival(&self) {
        while !self.came() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A problem if a signal came: to be called between stages before anything is touched.
    pub fn check(&self) -> Result<(), Problem> {
        if self.came() {
            return Err(Problem::new(Kind::Interrupted, "stopped before anything was changed"));
        }
        Ok(())
    }
}

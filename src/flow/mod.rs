//! Stories: one file per command, read top to bottom.

pub mod activation;
pub mod adopt;
pub mod busy;
pub mod context;
pub mod deploy;
pub mod event;
pub mod gc;
pub(crate) mod init;
pub mod inspect;
mod lock_wait;
pub mod models;
pub mod plan;
pub mod rehearse;
mod running;
pub mod supervise;
pub mod validate;

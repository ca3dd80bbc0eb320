//! Stories: one file per command, read top to bottom.

pub mod account;
pub mod activate;
pub mod check;
pub mod deploy;
pub mod event;
pub mod live;
pub mod lock;
pub mod outcome;
pub mod prepare;
pub mod profiles;
pub mod recover;
pub mod rehearse;
pub mod rollback;
pub mod status;
pub mod supervise;
pub mod validate;
pub mod world;

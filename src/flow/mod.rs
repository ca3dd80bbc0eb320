//! Stories: one file per command, read top to bottom.

pub mod account;
pub mod activate;
pub mod check;
pub mod collect;
pub mod deploy;
pub mod drift;
pub mod event;
pub mod export;
pub mod fetch;
pub mod history;
pub mod live;
pub mod lock;
pub mod outcome;
pub mod prepare;
pub mod profiles;
pub mod prove;
pub mod recover;
pub mod rehearse;
pub mod rollback;
pub mod status;
pub mod supervise;
pub mod validate;
pub mod verify;
pub mod world;

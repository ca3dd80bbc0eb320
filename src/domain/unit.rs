//! The text of systemd units.

//! Server-sent events: lines in, events out.

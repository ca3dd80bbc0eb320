//! Where a starting engine is, read from its log lines.

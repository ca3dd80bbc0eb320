//! Where a starting engine is, read from its log lines.

/// The cause that a log line of a failing engine names, in short words.
pub fn failure(_line: &str) -> Option<String> {
    None
}

/// What a starting engine does, from a log line.
pub fn phase(_line: &str) -> Option<String> {
    None
}

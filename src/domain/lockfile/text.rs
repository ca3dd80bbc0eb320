//! Writes the text of locks.

/// The format that this program reads and writes.
pub(crate) const VERSION: i64 = 1;

/// Sorts by the bytes of the key. A `PathBuf` compares by components, which would put `a/b` before `a-b`.
pub(crate) fn sorted<'a, T>(items: &'a [T], key: impl Fn(&'a T) -> std::borrow::Cow<'a, str>) -> Vec<&'a T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by_key(|item| key(item));
    items
}

/// A TOML basic string. A JSON string is one: its escapes are a subset.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

//! Reads the directory at the end of a wheel's archive (ZIP): a few bytes tell what gigabytes hold, before
//! anything is locked. Crates that read archives want the whole file.

use std::ops::Range;

/// The end of the directory: a signature, then where the directory is. At most 64 KiB of comment follow.
const END: [u8; 4] = *b"PK\x05\x06";
const END_LENGTH: usize = 22;
/// The signature of the directory's end in archives that are too large for 32 bits.
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_64_LENGTH: usize = 20;
/// The signature of a file in the directory.
const FILE: [u8; 4] = *b"PK\x01\x02";
const FILE_LENGTH: usize = 46;
/// The value that stands for a number too large for its field.
const ELSEWHERE: u64 = 0xffff_ffff;

/// A file in an archive, with what tells its content from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The path, as the archive has it.
    pub path: String,
    /// The checksum of its content.
    pub crc32: u32,
    /// The length.
    pub size: u64,
}

/// Finds the directory of an archive of `size` bytes by its last bytes. Nothing where these are not the end
/// of one.
pub fn directory(size: u64, tail: &[u8]) -> Option<Range<u64>> {
    let end = (0..=tail.len().checked_sub(END_LENGTH)?).rev().find(|at| tail[*at..].starts_with(&END))?;
    let record = &tail[end..];
    let (length, start) = (u64::from(word(record, 12)?), u64::from(word(record, 16)?));
    let (length, start) = if length == ELSEWHERE || start == ELSEWHERE {
        let locator = tail.get(end.checked_sub(LOCATOR_64_LENGTH)?..end)?;
        if !locator.starts_with(&LOCATOR_64) {
            return None;
        }
        let begin = size.checked_sub(tail.len() as u64)?;
        let at = usize::try_from(long(locator, 8)?.checked_sub(begin)?).ok()?;
        let record = tail.get(at..)?;
        if !record.starts_with(&END_64) {
            return None;
        }
        (long(record, 40)?, long(record, 48)?)
    } else {
        (length, start)
    };
    let range = start..start.checked_add(length)?;
    (range.end <= size).then_some(range)
}

/// Reads the files of a directory. Nothing where the bytes are no directory.
pub fn members(mut directory: &[u8]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    while !directory.is_empty() {
        if !directory.starts_with(&FILE) {
            return None;
        }
        let (crc32, mut size) = (word(directory, 16)?, u64::from(word(directory, 24)?));
        let [name, extra, comment] = [28, 30, 32].map(|at| half(directory, at).map(usize::from));
        let (name, extra, comment) = (name?, extra?, comment?);
        let path = directory.get(FILE_LENGTH..FILE_LENGTH + name)?;
        if size == ELSEWHERE {
            size = large(directory.get(FILE_LENGTH + name..FILE_LENGTH + name + extra)?)?;
        }
        members.push(Member { path: String::from_utf8_lossy(path).into_owned(), crc32, size });
        directory = directory.get(FILE_LENGTH + name + extra + comment..)?;
    }
    Some(members)
}

/// The length of a file that has more than 32 bits: the first number in the extra field 1.
fn large(mut extra: &[u8]) -> Option<u64> {
    while !extra.is_empty() {
        let (kind, length) = (half(extra, 0)?, usize::from(half(extra, 2)?));
        if kind == 1 {
            return long(extra.get(4..4 + length)?, 0);
        }
        extra = extra.get(4 + length..)?;
    }
    None
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

//! Wheels as small as they can be, for tests: an archive with a `RECORD`, stored, not compressed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use flate2::Crc;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A wheel of these files beside its own description: `NAME-VERSION-py3-none-any.whl`.
pub(crate) fn wheel(name: &str, version: &str, files: &[(&str, &str)]) -> Vec<u8> {
    recorded(name, version, files, |text| text)
}

/// Writes a wheel whose `RECORD` is of other texts: `said` of each.
pub(crate) fn recorded(
    name: &str,
    version: &str,
    files: &[(&str, &str)],
    said: impl Fn(&str) -> &str,
) -> Vec<u8> {
    let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let mut all: Vec<(String, String)> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    all.push((format!("{info}/METADATA"), metadata));
    all.push((format!("{info}/WHEEL"), tags.to_owned()));
    let lines = all.iter().map(|(path, text)| {
        let text = said(text);
        format!("{path},sha256={},{}\n", BASE64.encode(Sha256::digest(text)), text.len())
    });
    let record = lines.collect::<String>() + &format!("{info}/RECORD,,\n");
    all.push((format!("{info}/RECORD"), record));
    zip(&all)
}

/// Writes it into a folder. Returns its path.
pub(crate) fn write(folder: &Path, name: &str, version: &str, files: &[(&str, &str)]) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")));
    fs::write(&path, wheel(name, version, files)).unwrap();
    path
}

/// An archive of these files.
pub(crate) fn zip(files: &[(String, String)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (path, text) in files {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let offset = u32::try_from(bytes.len()).unwrap();
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        let name = u16::try_from(path.len()).unwrap().to_le_bytes();
        // Version, flags, method, time, date; then checksum, both lengths, the name's length, no extra field.
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc.sum().to_le_bytes(),
            &length,
            &length,
            &name,
            &[0, 0],
        ]
        .concat();
        bytes.extend([b"PK\x03\x04", &common[..], path.as_bytes(), text.as_bytes()].concat());
        let mode = (0o100_644_u32 << 16).to_le_bytes();
        // Made on Unix; no comment, disk 0, no internal attributes.
        let entry =
            [b"PK\x01\x02", &[20, 3][..], &common, &[0; 6], &mode, &offset.to_le_bytes(), path.as_bytes()];
        directory.extend(entry.concat());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let (start, length) = (bytes.len(), directory.len());
    bytes.extend(directory);
    let [start, length] = [length, start].map(|number| u32::try_from(number).unwrap().to_le_bytes());
    bytes.extend([b"PK\x05\x06", &[0; 4][..], &count, &count, &start, &length, &[0, 0]].concat());
    bytes
}

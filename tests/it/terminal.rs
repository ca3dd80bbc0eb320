//! The program at a real terminal: a pseudo-terminal of so many columns, with an emulator that tells what a person sees.

use super::{program::settled, stand::PROGRAM};
use pty_process::{Size, blocking};
use std::{
    io::{Read, Write},
    num::NonZero,
    process::Child,
};

const ROWS: u16 = 200;

/// A program at a terminal.
pub(crate) struct Terminal {
    pty: blocking::Pty,
    child: Child,
    emulator: vt100::Parser,
    columns: u16,
}

/// The screen when the program had ended.
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) screen: String,
    pub(crate) cursor: Cursor,
}

/// Whether a person still has a cursor, and at the beginning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    Hidden,
    Midline,
    Ready,
}

impl Terminal {
    /// Starts the program with these arguments and variables.
    pub(crate) fn start(columns: u16, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let (pty, slave) = blocking::open().unwrap();
        pty.resize(Size::new(ROWS, columns)).unwrap();
        let mut plain = std::process::Command::new(PROGRAM);
        settled(&mut plain);
        let mut command = blocking::Command::new(PROGRAM).args(arguments).env("TERM", "xterm-256color");
        for (name, value) in plain.get_envs() {
            command = match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.envs(variables.iter().map(|(name, value)| (name, value))).spawn(slave).unwrap();
        let [rows, wide] = [ROWS, columns].map(|size| NonZero::new(size).unwrap());
        Self { pty, child, emulator: vt100::Parser::new(rows, wide, 0), columns }
    }

    /// Takes over what was written since. False once the program has ended.
    fn take(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // The last process of the terminal is gone: Linux says EIO.
        let Ok(length @ 1..) = self.pty.read(&mut bytes) else { return false };
        // A row at a time, so that no frame goes by unseen.
        for part in bytes[..length].split_inclusive(|byte| *byte == b'\n' || *byte == b'\r') {
            self.emulator.process(part);
            let screen = self.emulator.screen();
            let wrapped = (0..ROWS).find(|row| screen.row_wrapped(*row));
            assert_eq!(wrapped, None, "wider than {} columns:\n{}", self.columns, screen.contents());
        }
        true
    }

    /// Waits until this can be seen.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.seen().contains(text) {
            assert!(self.take(), "it ended before `{text}` was seen:\n{}", self.seen());
        }
    }

    /// The text that can be seen now.
    pub(crate) fn seen(&self) -> String {
        self.emulator.screen().contents()
    }

    /// Types this.
    pub(crate) fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Left {
        while self.take() {}
        let screen = self.emulator.screen();
        let cursor = match screen.cursor_position() {
            _ if screen.hide_cursor() => Cursor::Hidden,
            (_, 0) => Cursor::Ready,
            _ => Cursor::Midline,
        };
        Left { code: self.child.wait().unwrap().code(), screen: self.seen(), cursor }
    }
}

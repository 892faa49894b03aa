//! Commands on a pseudo-terminal, and what a person sees there in the end.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Instant,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::{HANG, LOOK};

/// A terminal, and what was written to it so far.
pub(crate) struct Terminal {
    master: File,
    slave: File,
    written: mpsc::Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let slave =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap();
        let size = Winsize { ws_row: 50, ws_col: 250, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        let master = File::from(master);
        let (tell, written) = mpsc::channel();
        let mut from = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading from a terminal that no process has open any more gives an error.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if tell.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { master, slave, written, seen: Vec::new() }
    }

    /// One end of it for a process.
    pub(crate) fn end(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Types something.
    pub(crate) fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until something stands there.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + HANG;
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            let more = self.written.recv_timeout(left);
            let more =
                more.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", screen(&self.seen)));
            self.seen.extend(more);
        }
    }

    /// Whether what is typed is shown.
    pub(crate) fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// All that was written, once no process has it open any more.
    pub(crate) fn all(self) -> Vec<u8> {
        let Self { master, slave, written, mut seen } = self;
        drop(slave);
        seen.extend(written.iter().flatten());
        drop(master);
        seen
    }
}

/// What a command wrote on two terminals, and its code.
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) error: Vec<u8>,
}

/// Starts a command with both of its streams on terminals.
pub(crate) fn start(mut command: Command) -> (Child, Terminal, Terminal) {
    let (out, error) = (Terminal::new(), Terminal::new());
    command.stdin(error.end()).stdout(out.end()).stderr(error.end());
    let child = command.spawn().unwrap();
    // It holds ends of them, too.
    drop(command);
    (child, out, error)
}

/// Runs a command with both of its streams on terminals.
pub(crate) fn run(command: Command) -> Seen {
    let (child, out, error) = start(command);
    let code = ends(child);
    Seen { code, out: out.all(), error: error.all() }
}

/// Waits for a command to end by itself.
pub(crate) fn ends(mut child: Child) -> Option<i32> {
    let until = Instant::now() + HANG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if until < Instant::now() {
            child.kill().ok();
            panic!("a command on a terminal hangs");
        }
        std::thread::park_timeout(LOOK);
    }
}

/// What stands on a terminal after such bytes: lines without colours, and without what was cleared.
pub(crate) fn screen(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                assert_eq!(letters.next(), Some('['), "another escape: {text:?}");
                let mut number = String::new();
                let end = loop {
                    match letters.next().expect("an escape ends") {
                        letter @ ('0'..='9' | ';' | '?') => number.push(letter),
                        letter => break letter,
                    }
                };
                let count = number.parse().unwrap_or(1);
                match end {
                    'A' => row = row.saturating_sub(count),
                    'B' => row += count,
                    'G' => column = count - 1,
                    'K' if number == "2" => lines[row].clear(),
                    'K' => lines[row].truncate(column),
                    'm' | 'h' | 'l' => {}
                    other => panic!("a terminal here does not know {other:?}: {text:?}"),
                }
            }
            letter => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
        lines.resize_with(lines.len().max(row + 1), Vec::new);
    }
    let lines: Vec<String> = lines.into_iter().map(|line| line.into_iter().collect()).collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n").trim_end().to_owned()
}

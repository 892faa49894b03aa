//! Reads a line from the terminal without showing it.

use std::io::{self, ErrorKind};

use rustix::termios::{self, LocalModes, OptionalActions};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind},
    interrupt,
    output::Output,
};

/// Bytes of the longest line that a terminal delivers at once: more than any passphrase or recovery phrase has.
const LINE_BYTES_MAX: usize = 4096;

/// Asks for a line that is not shown. After a signal the terminal is as it was before.
pub(crate) fn ask(prompt: &str, out: &Output) -> Result<Zeroizing<String>, Error> {
    let problem = |error: io::Error| {
        Error::new(Kind::Io, format!("cannot read what is typed: {error}"))
            .hint("type it on a terminal, or put it into a file")
    };
    let stdin = io::stdin();
    let now = termios::tcgetattr(&stdin).map_err(|error| problem(error.into()))?;
    let mut hidden = now.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    interrupt::keep_terminal(now);
    let set = termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden);
    let line = set.map_err(io::Error::from).and_then(|()| {
        out.prompt(prompt);
        line(|bytes| Ok(rustix::io::read(&stdin, bytes)?))
    });
    interrupt::restore_terminal();
    line.map_err(problem)
}

/// Reads up to the end of a line, and keeps no copy of it.
fn line(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(vec![0; LINE_BYTES_MAX]);
    let mut length = 0;
    while length < bytes.len() {
        match read(&mut bytes[length..]) {
            Ok(0) if length == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes[..length].ends_with(b"\n") {
            length -= 1;
            break;
        }
    }
    let line = bytes[..length].strip_suffix(b"\r").unwrap_or(&bytes[..length]);
    let text = std::str::from_utf8(line).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> io::Result<String> {
        let mut pieces = pieces.iter();
        let read = |bytes: &mut [u8]| {
            let Some(piece) = pieces.next() else { return Ok(0) };
            bytes[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        };
        line(read).map(|line| line.to_string())
    }

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(of(&[b"correct horse\n"]).unwrap(), "correct horse");
        assert_eq!(of(&[b"correct ", b"horse\r\n", b"more\n"]).unwrap(), "correct horse");
        assert_eq!(of(&[b"no end"]).unwrap(), "no end");
        assert_eq!(of(&[b"\n"]).unwrap(), "");
        assert_eq!(of(&[]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(of(&[b"\xff\n"]).unwrap_err().kind(), ErrorKind::InvalidData);
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(of(&[&long]).unwrap().len(), LINE_BYTES_MAX);
    }
}

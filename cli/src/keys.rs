//! Identities on disk: creates, restores and opens them. A key file holds only the recovery phrase.

use std::{fs::File, io::Read as _, path::Path};

use symbolon_net::Host;
use symbolon_protocol::identity::{
    Identity, Phrase,
    keyfile::{self, Cost, KeyfileError},
};
use zeroize::Zeroizing;

use crate::{
    env,
    error::{Error, Kind},
    home::{self, Home},
    output::Output,
    unseen,
};

/// Bytes read of a passphrase file.
const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// Bytes of the shortest passphrase that is accepted. A shorter one can be guessed in spite of key stretching.
const PASSPHRASE_BYTES_MIN: usize = 8;

/// How the key file is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Sealed under a passphrase.
    Passphrase,
    /// Only by the file's permissions.
    FilePermissions,
}

/// Stores an identity in the home under a name that must be free.
pub(crate) fn create(
    home: &Home,
    name: &str,
    phrase: &Phrase,
    protection: Protection,
    out: &Output,
    host: &Host,
) -> Result<Identity, Error> {
    let folder = home.identity(name)?;
    let path = folder.join("key");
    if path.exists() {
        return Err(Error::new(
            Kind::Exists,
            format!("identity {name} already exists in this home"),
        )
        .hint("choose another name with --as NAME"));
    }
    let passphrase = match protection {
        Protection::Passphrase => Some(new_passphrase(out)?),
        Protection::FilePermissions => None,
    };
    let identity = Identity::from_phrase(phrase);
    let sealed = match &passphrase {
        None => keyfile::plain(phrase),
        Some(text) => keyfile::seal(phrase, text, Cost::STANDARD, &host.random())
            .map(Zeroizing::new)
            .map_err(|error| Error::new(Kind::Key, error.to_string()))?,
    };
    home::make_folder(&folder)?;
    let recipient = format!("{}\n", identity.recipient().to_text());
    home::write_whole(&folder.join("recipient"), recipient.as_bytes())?;
    // The key last: an identity is there when its key is.
    home::write_whole(&path, &sealed)?;
    Ok(identity)
}

/// The phrase of an identity.
pub(crate) fn phrase(home: &Home, name: &str, out: &Output) -> Result<Phrase, Error> {
    let path = home.identity(name)?.join("key");
    let Some(bytes) = home::read_if_there(&path)? else {
        return Err(no_identity(home, name));
    };
    let problem = |error: KeyfileError| {
        let shown = path.display();
        let restore = "bring it back under another name: symbolon restore --as NAME";
        Error::new(Kind::Key, format!("cannot open identity {name}: {error} ({shown})")).hint(
            match error {
                KeyfileError::WrongPassphrase => format!("try again; forgotten? {restore}"),
                _ => format!("from its recovery phrase, {restore}"),
            },
        )
    };
    let sealed = keyfile::is_sealed(&bytes).map_err(problem)?;
    let passphrase = if sealed { Some(passphrase(name, out)?) } else { None };
    keyfile::open(&bytes, passphrase.as_ref().map(|text| text.as_str())).map_err(problem)
}

/// An identity of the home.
pub(crate) fn open(home: &Home, name: &str, out: &Output) -> Result<Identity, Error> {
    phrase(home, name, out).map(|phrase| Identity::from_phrase(&phrase))
}

/// The same if it has no passphrase: `None` if it has one.
pub(crate) fn open_unsealed(home: &Home, name: &str) -> Result<Option<Identity>, Error> {
    let path = home.identity(name)?.join("key");
    let Some(bytes) = home::read_if_there(&path)? else { return Ok(None) };
    let bytes = Zeroizing::new(bytes);
    match keyfile::is_sealed(&bytes) {
        Ok(false) => {}
        Ok(true) => return Ok(None),
        Err(error) => return Err(Error::new(Kind::Key, format!("identity {name}: {error}"))),
    }
    let phrase = keyfile::open(&bytes, None)
        .map_err(|error| Error::new(Kind::Key, format!("identity {name}: {error}")))?;
    Ok(Some(Identity::from_phrase(&phrase)))
}

fn no_identity(home: &Home, name: &str) -> Error {
    let known = home.identities().unwrap_or_default();
    let shown = home.root().display();
    let error = Error::new(Kind::NotFound, format!("there is no identity {name} in {shown}"));
    if known.is_empty() {
        error.hint("make one with: symbolon init")
    } else {
        error.hint(format!(
            "this home has: {}; make another with: symbolon init --as {name}",
            known.join(", ")
        ))
    }
}

fn passphrase(name: &str, out: &Output) -> Result<Zeroizing<String>, Error> {
    if let Some(path) = env::passphrase_file() {
        return from_file(&path);
    }
    ask(&format!("Passphrase of {name}: "), out)
}

fn new_passphrase(out: &Output) -> Result<Zeroizing<String>, Error> {
    let text = if let Some(path) = env::passphrase_file() {
        from_file(&path)?
    } else {
        let text = ask("New passphrase: ", out)?;
        if *ask("The same again: ", out)? != *text {
            return Err(Error::new(Kind::Key, "the two passphrases differ").hint("try again"));
        }
        text
    };
    if text.len() < PASSPHRASE_BYTES_MIN {
        let least = format!("a passphrase has at least {PASSPHRASE_BYTES_MIN} characters");
        return Err(Error::new(Kind::Key, least).hint("a few words make a good one"));
    }
    Ok(text)
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    let mut text = Zeroizing::new(String::new());
    file.take(PASSPHRASE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Error::io("read", path, &error))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ask(prompt: &str, out: &Output) -> Result<Zeroizing<String>, Error> {
    if !out.can_ask() {
        let name = env::PASSPHRASE_FILE;
        let message = "a passphrase is needed, and there is no terminal to ask at";
        return Err(Error::new(Kind::Key, message)
            .hint(format!("put it into a file only you can read, and its path into {name}")));
    }
    unseen::ask(prompt, out)
}

/// The recovery phrase as the user has it: typed unseen, or read from a file or stdin.
pub(crate) fn read_phrase(from: Option<&str>, out: &Output) -> Result<Phrase, Error> {
    let text = match from {
        Some(from) => {
            let source = if from == "-" { from.to_owned() } else { format!("@{from}") };
            Zeroizing::new(home::text_or_file(&source, PASSPHRASE_BYTES_MAX)?)
        }
        None if out.can_ask() => ask("Recovery phrase (24 words, not shown): ", out)?,
        None => Zeroizing::new(home::text_or_file("-", PASSPHRASE_BYTES_MAX)?),
    };
    Phrase::parse(&text).map_err(|error| {
        Error::new(Kind::Key, format!("this is not a recovery phrase: {error}"))
            .hint("it is 24 English words in their order, as init showed them")
    })
}

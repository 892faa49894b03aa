//! The file that keeps which nodes answered before: see [`symbolon_transfer::met`].

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use symbolon_transfer::met::{Acquaintance, BYTES_MAX};

use crate::wallet::Wallet;

/// The file's name.
const MET: &str = "met";

/// Reads the file. Gives no nodes when it is missing or unreadable: the client then meets them anew.
pub(crate) fn read(dir: &Path) -> Acquaintance {
    let bytes = fs::File::open(dir.join(MET)).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    bytes.map_or_else(|_| Acquaintance::default(), |bytes| Acquaintance::from_bytes(&bytes))
}

/// Writes the file. It does not wait for the disk: if the file is torn or old, the client meets the nodes anew.
fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join(MET);
    let fresh = path.with_extension(std::process::id().to_string());
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    fs::rename(&fresh, path)
}

impl Wallet {
    /// Writes down which nodes answered, and where. If that fails, a later run meets them anew.
    pub(crate) async fn remember_met(&self) {
        let Some(bytes) = self.network().take_met().await else { return };
        let dir = self.dir().to_owned();
        let written = self.host().blocking(move || write(&dir, &bytes)).await;
        if let Err(error) = written {
            tracing::debug!(%error, "could not write down which nodes answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use symbolon_net::PeerAddress;
    use symbolon_protocol::id::PeerId;

    use super::*;

    #[test]
    fn a_written_file_is_read_back_and_a_torn_file_gives_no_nodes() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).latest(), []);
        let there = PeerAddress { id: PeerId([7; 32]), addresses: vec!["here".into()] };
        let mut known = Acquaintance::default();
        known.answered(vec![there.clone()], symbolon_protocol::MachineTime(7));
        write(dir.path(), &known.take_changes().unwrap()).unwrap();
        assert_eq!(read(dir.path()).latest(), [there]);
        let path = dir.path().join(MET);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(dir.path()).latest(), []);
    }
}

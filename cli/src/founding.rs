//! A ledger that several validators found: their folders, each with its key, and what all of them begin with.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use symbolon_ledger::{LedgerTicket, founder};
use symbolon_net::{Host, PeerAddress, peer_id};
use symbolon_protocol::{
    LedgerTime,
    codec::{Decode as _, Encode as _},
    ledger::{
        Params,
        block::Genesis,
        commit::{Validator, Validators},
    },
    record,
};

use crate::{
    error::{Error, Kind},
    home, serve, stamp,
};

/// Validators that found a ledger together, at most: as many as a ticket has room for.
pub(crate) const FOUNDERS_MAX: usize = 8;

record! {
    /// The file `founding` in the folder of each founder. It has no secret.
    struct Kept {
        genesis: Genesis,
        addresses: Vec<PeerAddress>,
    }
}

/// What a folder says of the ledger that its validator founds with others.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) genesis: Genesis,
    pub(crate) salt: [u8; 32],
    pub(crate) addresses: Vec<PeerAddress>,
}

impl Founded {
    /// Reads it, if the folder is a founder's.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let Some(bytes) = home::read_if_there(&path)? else { return Ok(None) };
        let Kept { genesis, addresses } = Kept::from_bytes(&bytes).map_err(|error| {
            Error::new(Kind::Corrupt, format!("{} is damaged: {error}", path.display()))
                .hint("copy it from the folder of another validator of this ledger")
        })?;
        let salt = home::read_if_there(&dir.join("salt"))?.and_then(|salt| salt.try_into().ok());
        let key = home::read_if_there(&dir.join("key"))?.and_then(|key| key.try_into().ok());
        let salt = key.zip(salt).filter(|(key, salt)| {
            let (own, onion) = founder(key, *salt);
            let place = genesis.validators.members.iter().position(|member| member.key == own);
            place.and_then(|place| genesis.onions.get(place)) == Some(&onion)
        });
        let Some((_, salt)) = salt else {
            let message = format!("the key and salt in {} are of no founder", dir.display());
            return Err(Error::new(Kind::Key, message)
                .hint("put the files key and salt back from a backup of this folder"));
        };
        Ok(Some(Self { genesis, salt, addresses }))
    }

    /// What others need to join.
    pub(crate) fn ticket(&self, own: &PeerAddress) -> LedgerTicket {
        let others = self.addresses.iter().filter(|address| address.id != own.id);
        let peers = [own].into_iter().chain(others).take(FOUNDERS_MAX).cloned().collect();
        LedgerTicket { chain: self.genesis.chain(), peers }
    }
}

/// Makes the folders of a ledger's founders, each with a key of its own. If some are there already, only what is missing is
/// made: so a founding that was interrupted goes on. `reached_at` says where each will listen; without it they get ports of
/// this machine.
pub(crate) fn found(
    dirs: &[PathBuf],
    reached_at: &[SocketAddr],
    params: Params,
    host: &Host,
) -> Result<(), Error> {
    let (mut founders, mut addresses) = (Vec::new(), Vec::new());
    for (at, dir) in dirs.iter().enumerate() {
        home::make_folder(dir)?;
        let key = stamp::signing_key(dir, host)?;
        let salt = home::secret(&dir.join("salt"), host.random())?;
        if !dir.join(FILE).exists() {
            symbolon_ledger::begin_guard(dir)?;
        }
        let (id, onion) = founder(&key, salt);
        founders.push((Validator { key: id, power: 1 }, onion));
        let address = match reached_at.get(at) {
            None => serve::ledger_address(dir, host)?,
            Some(address) => {
                home::write_whole(&dir.join("listen"), format!("{address}\n").as_bytes())?;
                *address
            }
        };
        addresses.push(PeerAddress { id: peer_id(&key), addresses: vec![address.to_string()] });
    }
    founders.sort_unstable_by_key(|(validator, _)| validator.key);
    let (members, onions) = founders.into_iter().unzip();
    let time_ms = host.now_ms().within(LedgerTime::ZERO, LedgerTime::NEVER);
    let genesis = Genesis { params, validators: Validators { members }, time_ms, onions };
    genesis.check().map_err(|error| Error::usage(error.to_string()))?;
    let mut bytes = Kept { genesis, addresses }.to_bytes();
    for dir in dirs {
        if let Some(kept) = home::read_if_there(&dir.join(FILE))? {
            bytes = kept;
        }
    }
    for dir in dirs {
        home::write_whole(&dir.join(FILE), &bytes)?;
    }
    Ok(())
}

const FILE: &str = "founding";

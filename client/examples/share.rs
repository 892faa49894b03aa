//! Puts a file, reads a range of it, shares it, and gets it as another identity.
//!
//! `symbolon up` prints the ticket: `cargo run -p symbolon-client --example share TICKET FOLDER`

use std::path::Path;

use symbolon_client::{
    Client, ClientError, GetOptions, Identity, LedgerTicket, Name, Progress, PutOptions, Readable,
    Sink,
};
use symbolon_client::{Host, Phrase};

pub(crate) async fn share(ticket: &str, dir: &Path, who: [Identity; 2]) -> Result<(), ClientError> {
    let ([me, friend], quiet) = (who, Progress::silent());
    let ticket: LedgerTicket = ticket.parse()?;
    let me = Client::connect(&ticket, me, dir.join("me")).await?;
    me.faucet().await?;
    let name = Name::new("notes/first.txt")?;
    let text = b"Hello from far away".to_vec();
    me.put(text.into(), &name, &PutOptions::default(), &quiet).await?;
    let what = Readable::from(&name);
    let hello = me.open(&what, &quiet).await?.read_at(0, 5).await?;
    assert_eq!(hello, b"Hello");
    let friend = Client::connect(&ticket, friend, dir.join("friend")).await?;
    let reader = friend.identity().recipient();
    let grant = me.share(&name, &reader, Vec::new(), None, &quiet).await?;
    let copy = Sink::File(dir.join("copy.txt"));
    friend.get(&grant.into(), copy, &GetOptions::default(), &quiet).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (ticket, dir) = (argument(1)?, argument(2)?);
    let host = Host::system();
    let person = || Identity::from_phrase(&Phrase::from_entropy(&host.random()));
    Ok(share(&ticket, dir.as_ref(), [person(), person()]).await?)
}

fn argument(number: usize) -> Result<String, &'static str> {
    std::env::args().nth(number).ok_or("arguments: TICKET FOLDER")
}

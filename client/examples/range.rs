//! Reads parts of a stored file through tokio's `AsyncRead` and `AsyncSeek`.
//!
//! `symbolon up` prints the ticket: `cargo run -p symbolon-client --example range TICKET FOLDER`

use std::{error::Error, io::SeekFrom, path::Path};

use symbolon_client::{
    Client, Host, Identity, LedgerTicket, Name, Phrase, Progress, PutOptions, Readable,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader};

/// Stores lines of equal length. Gives two of them, read from within the file.
pub(crate) async fn range(
    ticket: &str,
    dir: &Path,
    who: Identity,
) -> Result<[String; 2], Box<dyn Error>> {
    let (ticket, quiet): (LedgerTicket, _) = (ticket.parse()?, Progress::silent());
    let client = Client::connect(&ticket, who, dir).await?;
    client.faucet().await?;
    let name = Name::new("lines.txt")?;
    let lines: String = (0..20_000).map(|number| format!("line {number:05}\n")).collect();
    client.put(lines.into_bytes().into(), &name, &PutOptions::default(), &quiet).await?;

    // Any library that reads from `AsyncRead + AsyncSeek` can read a stored file. The client fetches only the cells
    // that are needed.
    let mut reader = BufReader::new(client.open(&Readable::from(&name), &quiet).await?);
    reader.seek(SeekFrom::Start(11 * 12_345)).await?;
    let mut within = String::new();
    reader.read_line(&mut within).await?;
    reader.seek(SeekFrom::End(-11)).await?;
    let mut last = String::new();
    reader.read_to_string(&mut last).await?;
    client.close().await;
    Ok([within, last])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ticket, dir) = (argument(1)?, argument(2)?);
    let who = Identity::from_phrase(&Phrase::from_entropy(&Host::system().random()));
    let read = range(&ticket, dir.as_ref(), who).await?;
    assert_eq!(read, ["line 12345\n", "line 19999\n"]);
    Ok(())
}

fn argument(number: usize) -> Result<String, &'static str> {
    std::env::args().nth(number).ok_or("arguments: TICKET FOLDER")
}

//! Stores the output of a reader of unknown length, and gets it into a writer.
//!
//! `symbolon up` prints the ticket: `cargo run -p symbolon-client --example stream TICKET FOLDER`

use std::{error::Error, path::Path};

use symbolon_client::{
    Client, GetOptions, Host, Identity, LedgerTicket, Name, Phrase, Progress, PutOptions, Readable,
    Sink, Source,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// Bytes that wait between the writer and the reader.
const BUFFER: usize = 8 * 1024;

/// Puts lines while they are written. Gives the text that comes back.
pub(crate) async fn stream(
    ticket: &str,
    dir: &Path,
    who: Identity,
) -> Result<String, Box<dyn Error>> {
    let (ticket, quiet): (LedgerTicket, _) = (ticket.parse()?, Progress::silent());
    let client = Client::connect(&ticket, who, dir).await?;
    client.faucet().await?;
    let (name, options) = (Name::new("log.txt")?, PutOptions::default());

    // A socket, the output of a process, a decoder: the length is not known beforehand.
    let (mut writer, reader) = duplex(BUFFER);
    let writing = async move {
        for number in 0..30_000 {
            writer.write_all(format!("event {number}\n").as_bytes()).await?;
        }
        writer.shutdown().await
    };
    let source = Source::reader("the log", reader, None);
    let putting = client.put(source, &name, &options, &quiet);
    let (written, stored) = tokio::join!(writing, putting);
    written?;
    stored?;

    let (writer, mut reader) = duplex(BUFFER);
    let (what, sink) = (Readable::from(&name), Sink::writer("the pipe", writer));
    let options = GetOptions::default();
    let mut text = String::new();
    let reading = reader.read_to_string(&mut text);
    let (got, read) = tokio::join!(client.get(&what, sink, &options, &quiet), reading);
    got?;
    read?;
    client.close().await;
    Ok(text)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ticket, dir) = (argument(1)?, argument(2)?);
    let who = Identity::from_phrase(&Phrase::from_entropy(&Host::system().random()));
    let text = stream(&ticket, dir.as_ref(), who).await?;
    assert_eq!(text.lines().count(), 30_000);
    assert!(text.ends_with("event 29999\n"));
    Ok(())
}

fn argument(number: usize) -> Result<String, &'static str> {
    std::env::args().nth(number).ok_or("arguments: TICKET FOLDER")
}

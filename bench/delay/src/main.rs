//! Holds every packet of a netfilter queue for a time, and drops some.
//!
//!     delay QUEUE DELAY_MS LOSS_PERCENT SEED
//!
//! The packets stay in the kernel: this program sees only their heads and says when each may go on. It is for
//! kernels without netem. It prints `ready` once it answers, and ends when its standard input does.

use std::{
    collections::VecDeque,
    error::Error,
    io::{ErrorKind, Read},
    process::exit,
    thread,
    time::{Duration, Instant},
};

use nfq::{Queue, Verdict};

/// Enough packets of 1.5 kB for 1 Gbit/s over 400 ms.
const HELD_MAX: u32 = 65_535;
/// How long it sleeps where nothing is due: the error of a delay.
const NAP: Duration = Duration::from_micros(100);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [queue, delay, loss, seed] = words.as_slice() else {
        return Err("usage: delay QUEUE DELAY_MS LOSS_PERCENT SEED".into());
    };
    let (number, delay): (u16, f64) = (queue.parse()?, delay.parse()?);
    let (loss, mut random): (f64, u64) = (loss.parse()?, seed.parse()?);
    let delay = Duration::from_secs_f64(delay / 1000.0);
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    queue.set_copy_range(number, 1)?;
    queue.set_queue_max_len(number, HELD_MAX)?;
    queue.set_nonblocking(true);
    thread::spawn(|| {
        // The script that started this is gone once the pipe closes.
        let _ended = std::io::stdin().read(&mut [0]);
        exit(0);
    });
    println!("ready");
    // All wait equally long, so they leave in the order in which they came.
    let mut held = VecDeque::new();
    loop {
        let mut came = false;
        loop {
            match queue.recv() {
                Ok(message) => held.push_back((Instant::now() + delay, message)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            came = true;
            if held.len() % 64 == 0 {
                break;
            }
        }
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            let Some((_, mut message)) = held.pop_front() else { break };
            random = next(random);
            let lost = (random >> 11) as f64 / (1u64 << 53) as f64 * 100.0 < loss;
            message.set_verdict(if lost { Verdict::Drop } else { Verdict::Accept });
            queue.verdict(message)?;
        }
        if !came {
            thread::sleep(NAP);
        }
    }
}

/// splitmix64, one step.
fn next(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

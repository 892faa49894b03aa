//! The machine as everything above sees it: a clock, randomness, and a place for blocking work.
//!
//! Code that takes its time and randomness from a [`Host`] runs unchanged on a real machine and in the
//! simulator, where both come from a seed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Clock, randomness and blocking work. Cheap to clone; clones share one clock and one random stream.
#[derive(Clone)]
pub struct Host {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    System,
    Seeded(Arc<Seeded>),
}

struct Seeded {
    start_ms: u64,
    started: Instant,
    random: Mutex<blake3::OutputReader>,
}

impl Host {
    /// The real machine.
    #[must_use]
    pub fn system() -> Self {
        Self { kind: Kind::System }
    }

    /// A machine whose randomness is a function of `seed` and whose clock starts at `start_ms` and
    /// moves with tokio's, so that a paused tokio clock drives it. Blocking work runs inline. Must be
    /// made inside the runtime it is used in.
    #[must_use]
    pub fn seeded(seed: u64, start_ms: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated randomness v1");
        hasher.update(&seed.to_le_bytes());
        let random = Mutex::new(hasher.finalize_xof());
        let seeded = Seeded { start_ms, started: Instant::now(), random };
        Self { kind: Kind::Seeded(Arc::new(seeded)) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.kind {
            // A clock before 1970 is read as 1970: blocks are never dated before their parent anyway.
            Kind::System => {
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
            }
            Kind::Seeded(seeded) => {
                seeded.start_ms.saturating_add(millis(seeded.started.elapsed()))
            }
        }
    }

    /// Fills `out` with unpredictable bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness: there is nothing safe left to do.
    pub fn fill(&self, out: &mut [u8]) {
        match &self.kind {
            Kind::System => getrandom::fill(out).expect("the operating system gives randomness"),
            Kind::Seeded(seeded) => {
                seeded.random.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
            }
        }
    }

    /// `N` unpredictable bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// Runs work that blocks or computes for long where it does not hold up other tasks.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match &self.kind {
            Kind::Seeded(_) => work(),
            Kind::System => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is shutting down: this task is about to be dropped as well.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Waits until the clock shows `time_ms`; returns at once when it already does.
    pub async fn sleep_until_ms(&self, time_ms: u64) {
        loop {
            let now_ms = self.now_ms();
            if time_ms <= now_ms {
                return;
            }
            let wait = Duration::from_millis(time_ms - now_ms);
            let wait = match self.kind {
                // A wall clock may be set; look at it again now and then.
                Kind::System => wait.min(LOOK_AGAIN),
                Kind::Seeded(_) => wait,
            };
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::System => "Host::System",
            Kind::Seeded(_) => "Host::Seeded",
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seeded_host_repeats_itself_and_its_clock_is_virtual() {
        let (one, two) = (Host::seeded(7, 1_000), Host::seeded(7, 1_000));
        let other = Host::seeded(8, 1_000);
        let bytes = one.random::<32>();
        assert_eq!(bytes, two.random::<32>());
        assert_ne!(bytes, one.random::<32>());
        assert_ne!(bytes, other.random::<32>());

        one.sleep_until_ms(1_000 + 86_400_000).await;
        assert_eq!(one.now_ms(), 86_401_000);
        one.sleep_until_ms(5).await;
        assert_eq!(one.blocking(|| 3).await, 3);
    }

    #[tokio::test]
    async fn the_system_host_has_a_clock_and_randomness() {
        let host = Host::system();
        assert!(1_700_000_000_000 < host.now_ms());
        assert_ne!(host.random::<32>(), host.random::<32>());
        let until = host.now_ms() + 20;
        host.sleep_until_ms(until).await;
        assert!(until <= host.now_ms());
        assert_eq!(host.blocking(|| 3).await, 3);
    }
}

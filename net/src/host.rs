//! The clock, the randomness and the threads for blocking work.
//!
//! Code that takes time and randomness from a [`Host`] runs unchanged on a real machine and in the
//! simulator. In the simulator both come from a seed.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime},
};

use symbolon_protocol::MachineTime;
use tokio::{sync::oneshot, time::Instant};

/// Clock, randomness and threads for blocking work. Clones are cheap and share one clock and one
/// random stream.
#[derive(Clone)]
pub struct Host {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    System(Arc<System>),
    Seeded(Arc<Seeded>),
}

struct System {
    started: Instant,
    serial: SerialExecutor,
}

struct Seeded {
    /// The time at the start. [`Host::set_clock`] moves it.
    start_ms: AtomicU64,
    started: Instant,
    random: Mutex<blake3::OutputReader>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after another on one thread. The thread ends when the last host that can give it a
/// job is dropped.
#[derive(Default)]
struct SerialExecutor(Mutex<Option<mpsc::Sender<Job>>>);

impl SerialExecutor {
    fn run(&self, job: Job) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel::<Job>();
            let thread = thread::Builder::new().name(String::from("in turn"));
            let started = thread.spawn(move || receiver.into_iter().for_each(|job| job()));
            started.expect("the operating system gives one more thread");
            sender
        });
        jobs.send(job).expect("the thread lives as long as its sender");
    }
}

impl Host {
    /// The real machine.
    #[must_use]
    pub fn system() -> Self {
        let system = System { started: Instant::now(), serial: SerialExecutor::default() };
        Self { kind: Kind::System(Arc::new(system)) }
    }

    /// A machine whose randomness follows from `seed`. Its clock starts at `start_ms` and moves
    /// with tokio's clock, so a paused tokio clock drives it. Blocking work runs inline. The
    /// caller must be inside the runtime that uses the host.
    #[must_use]
    pub fn seeded(seed: u64, start_ms: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated randomness v1");
        hasher.update(&seed.to_le_bytes());
        let random = Mutex::new(hasher.finalize_xof());
        let (start_ms, started) = (AtomicU64::new(start_ms), Instant::now());
        let seeded = Seeded { start_ms, started, random };
        Self { kind: Kind::Seeded(Arc::new(seeded)) }
    }

    /// The time by the machine's clock, which its user can set.
    #[must_use]
    pub fn now_ms(&self) -> MachineTime {
        MachineTime(match &self.kind {
            // A clock before 1970 is read as 1970: blocks are never dated before their
            // parent anyway.
            Kind::System(_) => {
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
            }
            Kind::Seeded(seeded) => {
                let start_ms = seeded.start_ms.load(Ordering::Relaxed);
                start_ms.saturating_add(millis(seeded.started.elapsed()))
            }
        })
    }

    /// Sets the clock of a seeded host forward or back, as a user may do with a real clock.
    /// Does nothing on the real machine.
    pub fn set_clock(&self, by_ms: i64) {
        if let Kind::Seeded(seeded) = &self.kind {
            let start_ms = seeded.start_ms.load(Ordering::Relaxed);
            seeded.start_ms.store(start_ms.saturating_add_signed(by_ms), Ordering::Relaxed);
        }
    }

    /// Milliseconds since this host was made, by a clock that cannot be set. Use it to measure
    /// durations: [`Host::now_ms`] jumps when a user sets the clock.
    #[must_use]
    pub fn ticks_ms(&self) -> u64 {
        let started = match &self.kind {
            Kind::System(system) => system.started,
            Kind::Seeded(seeded) => seeded.started,
        };
        millis(started.elapsed())
    }

    /// Waits until [`Host::ticks_ms`] reaches `tick_ms`; returns at once when it already has.
    pub async fn sleep_until_tick(&self, tick_ms: u64) {
        self.sleep_ms(tick_ms.saturating_sub(self.ticks_ms())).await;
    }

    /// Waits for `wait_ms` milliseconds, independent of what the clock shows.
    pub async fn sleep_ms(&self, wait_ms: u64) {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    /// Fills `out` with unpredictable bytes.
    ///
    /// # Panics
    /// If the operating system has no randomness: no safe way to go on is left.
    pub fn fill(&self, out: &mut [u8]) {
        match &self.kind {
            Kind::System(_) => getrandom::fill(out).expect("the operating system gives randomness"),
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

    /// Runs work that blocks or computes for long on another thread, so that it does not delay
    /// other tasks.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match &self.kind {
            Kind::Seeded(_) => work(),
            Kind::System(_) => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                // The runtime is shutting down: this task is about to be dropped as well.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Runs blocking work on one thread, one job after another. It suits work that is serial
    /// anyway and takes much memory: the system's allocator keeps freed memory for each thread,
    /// so several threads would keep it several times.
    pub async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let serial = match &self.kind {
            Kind::Seeded(_) => return work(),
            Kind::System(system) => &system.serial,
        };
        let (done, ended) = oneshot::channel();
        serial.run(Box::new(move || {
            // A panic goes to the caller of this job. The thread lives on for the other
            // jobs.
            done.send(catch_unwind(AssertUnwindSafe(work))).ok();
        }));
        match ended.await {
            Ok(Ok(out)) => out,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the clock shows `time_ms`; returns at once when it already does.
    pub async fn sleep_until_ms(&self, time_ms: MachineTime) {
        loop {
            let now_ms = self.now_ms();
            if time_ms <= now_ms {
                return;
            }
            let wait = Duration::from_millis(time_ms.saturating_since(now_ms).0);
            let wait = match self.kind {
                // The wall clock may be set meanwhile: look at it again regularly.
                Kind::System(_) => wait.min(LOOK_AGAIN),
                Kind::Seeded(_) => wait,
            };
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::System(_) => "Host::System",
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
    use symbolon_protocol::Millis;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seeded_host_repeats_itself_and_its_clock_is_virtual() {
        let (one, two) = (Host::seeded(7, 1_000), Host::seeded(7, 1_000));
        let other = Host::seeded(8, 1_000);
        let bytes = one.random::<32>();
        assert_eq!(bytes, two.random::<32>());
        assert_ne!(bytes, one.random::<32>());
        assert_ne!(bytes, other.random::<32>());

        one.sleep_until_ms(MachineTime(1_000 + 86_400_000)).await;
        assert_eq!(one.now_ms(), MachineTime(86_401_000));
        one.sleep_until_ms(MachineTime(5)).await;
        assert_eq!(one.ticks_ms(), 86_400_000);
        one.sleep_until_tick(86_400_007).await;
        one.sleep_until_tick(3).await;
        one.sleep_ms(3).await;
        assert_eq!(one.ticks_ms(), 86_400_010);
        let before = one.now_ms();
        one.set_clock(-500);
        assert_eq!((one.now_ms(), one.ticks_ms()), (MachineTime(before.0 - 500), 86_400_010));
        assert_eq!(one.blocking(|| 3).await, 3);
    }

    #[tokio::test]
    async fn the_system_host_has_a_clock_and_randomness() {
        let host = Host::system();
        assert!(MachineTime(1_700_000_000_000) < host.now_ms());
        assert_ne!(host.random::<32>(), host.random::<32>());
        let tick = host.ticks_ms() + 20;
        host.sleep_until_tick(tick).await;
        assert!(tick <= host.ticks_ms());
        let until = host.now_ms().saturating_add(Millis(20));
        host.sleep_until_ms(until).await;
        assert!(until <= host.now_ms());
        assert_eq!(host.blocking(|| 3).await, 3);
    }

    #[tokio::test]
    async fn work_takes_turns_on_one_thread_and_outlives_a_panic() {
        let host = Host::system();
        let here = || thread::current().id();
        let clone = host.clone();
        let (one, other) = tokio::join!(host.in_turn(here), clone.in_turn(here));
        assert!(one == other && one != here());
        let failing = host.clone();
        let failed = tokio::spawn(async move { failing.in_turn(|| panic!("as it should")).await });
        assert!(failed.await.unwrap_err().is_panic());
        assert_eq!(host.in_turn(here).await, one);
    }
}

//! Channels under random load: whatever routines of two runtimes and threads do to them, each message ends up
//! where it should, and nobody waits for ever.
//!
//! What is random comes from a seed, which is printed when a case fails or hangs, and `RUST_ROUTINES_SEED` begins with it
//! again. `RUST_ROUTINES_STRESS_SECONDS` sets how long each test goes on.

mod util;

#[path = "stress/ledger.rs"]
mod ledger;
#[path = "stress/player.rs"]
mod player;

use std::collections::HashMap;
use std::env;
use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::abort;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rust_routines::channel::{bounded, unbounded};
use rust_routines::{Canceled, Handle, JoinHandle, Runtime};

use ledger::Ledger;
use player::{Habits, Player};
use util::runtime;

/// How long each test goes on unless it is told.
const DURATION: Duration = Duration::from_secs(if cfg!(debug_assertions) { 2 } else { 8 });

/// How long a case, of some milliseconds, may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The most messages that a participant makes.
const MOST_MESSAGES: usize = 400;

/// A participant at work.
enum Started {
    Routine(JoinHandle<()>),
    Thread(thread::JoinHandle<()>),
}

/// Who is where: which channels a case has, and what can happen in it.
struct Case {
    random: fastrand::Rng,
    ledger: Arc<Ledger>,
    habits: Habits,
    channels: usize,
    /// Channels whose receivers leave when they like.
    left: Vec<bool>,
    players: Vec<(Player, Place)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Thread,
    Runtime(usize),
    /// In a runtime that is shut down by force in the midst of it.
    Doomed,
}

impl Case {
    fn new(seed: u64, doomed: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let channels = random.usize(1..5);
        let fickle = random.u8(0..3) == 0;
        // Receives that are given up go to the others only as long as those have not seen the end.
        let habits = Habits { fickle, loose: fickle && !doomed && random.bool(), doomed };
        let left = (0..channels).map(|_| random.u8(0..4) == 0).collect();
        let ledger = Ledger::new(64 * MOST_MESSAGES);
        let mut case = Self { random, ledger, habits, channels, left, players: Vec::new() };
        case.cast(doomed);
        case
    }

    /// Makes the channels and all who take part.
    fn cast(&mut self, doomed: bool) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..self.channels)
            .map(|channel| {
                let capacities = [Some(0), Some(0), Some(1), Some(1), Some(4), Some(128), None];
                let capacity = *self.random.choice(&capacities).unwrap();
                let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
                ((channel, sender), (channel, receiver))
            })
            .unzip();
        // One consumer of each channel that nothing takes away before its time.
        let mut at = 0;
        while at < self.channels {
            let count = self.random.usize(1..=self.channels - at);
            let place = self.place(false);
            self.add(place, Vec::new(), receivers[at..at + count].to_vec());
            at += count;
        }
        for _ in 0..self.random.usize(0..4) {
            let receiver = self.random.choice(&receivers).unwrap().clone();
            let place = self.place(doomed);
            self.add(place, Vec::new(), vec![receiver]);
        }
        for _ in 0..self.random.usize(1..7) {
            let mut own = senders.clone();
            self.random.shuffle(&mut own);
            own.truncate(self.random.usize(1..=self.channels));
            let mut theirs = Vec::new();
            if self.random.u8(0..3) == 0 {
                // Not those of channels that others leave: it would keep them open, and waits in them.
                theirs = receivers.iter().filter(|(at, _)| !self.left[*at]).cloned().collect();
                self.random.shuffle(&mut theirs);
                theirs.truncate(self.random.usize(0..=theirs.len()));
            }
            let place = self.place(doomed);
            self.add(place, own, theirs);
        }
    }

    fn place(&mut self, doomed: bool) -> Place {
        match self.random.u8(0..8) {
            0 | 1 => Place::Thread,
            2..6 if doomed => Place::Doomed,
            number => Place::Runtime(usize::from(number % 2)),
        }
    }

    fn add(
        &mut self,
        place: Place,
        senders: Vec<(usize, rust_routines::channel::Sender<ledger::Message>)>,
        receivers: Vec<(usize, rust_routines::channel::Receiver<ledger::Message>)>,
    ) {
        let leaves = receivers.iter().all(|(channel, _)| self.left[*channel]);
        let budget = match (senders.is_empty(), leaves) {
            (true, true) => self.random.usize(1..MOST_MESSAGES),
            (true, false) => usize::MAX,
            (false, _) => self.random.usize(1..MOST_MESSAGES),
        };
        let player = Player {
            id: self.players.len(),
            random: self.random.fork(),
            ledger: self.ledger.clone(),
            habits: self.habits.clone(),
            senders,
            receivers,
            budget,
            numbers: HashMap::new(),
            newest: HashMap::new(),
        };
        self.players.push((player, place));
    }

    /// Runs it and checks what came of it. Answers with the number of operations.
    fn run(mut self, runtimes: [&Handle; 2], doomed: Option<Runtime>) -> usize {
        self.random.shuffle(&mut self.players);
        let mut started = Vec::new();
        for (player, place) in self.players {
            let play = move || player.play();
            let handle = match place {
                Place::Thread => {
                    started.push(Started::Thread(thread::spawn(play)));
                    continue;
                }
                Place::Runtime(index) => runtimes[index],
                Place::Doomed => doomed.as_ref().expect("made if it is needed").handle(),
            };
            started.push(Started::Routine(handle.spawn(play)));
        }
        if let Some(doomed) = doomed {
            doomed.shutdown_timeout(Duration::from_micros(self.random.u64(0..3000)));
        }
        for player in started {
            let result = match player {
                Started::Thread(thread) => thread.join(),
                Started::Routine(routine) => routine.join(),
            };
            if let Err(payload) = result
                && !payload.is::<Canceled>()
            {
                resume_unwind(payload);
            }
        }
        for (channel, count) in self.ledger.audit(self.channels).into_iter().enumerate() {
            assert!(count.received <= count.sent, "channel {channel}: {count:?}");
            if !self.left[channel] {
                assert_eq!(count.received, count.sent, "channel {channel} has lost messages");
            }
        }
        self.ledger.operations.load(Ordering::Relaxed)
    }
}

/// Writes past the harness, which keeps what a test prints and loses it when the process aborts.
fn shout(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Runs random cases for a while. One after the other has the next seed.
fn stress(name: &'static str, doomed: bool) {
    let seconds = env::var("RUST_ROUTINES_STRESS_SECONDS").ok();
    let duration = seconds.map_or(DURATION, |text| {
        Duration::from_secs(text.parse().expect("RUST_ROUTINES_STRESS_SECONDS"))
    });
    let first = util::random().get_seed();
    let current = Arc::new(AtomicU64::new(first));
    let runtimes = [runtime(1), runtime(2)];
    let (progress, watched) = mpsc::channel();
    let watchdog = thread::spawn({
        let (current, handles) = (current.clone(), runtimes.each_ref().map(|r| r.handle().clone()));
        move || loop {
            match watched.recv_timeout(LIMIT) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let parked = handles.map(|handle| handle.metrics().parked_by_reason);
                    let seed = current.load(Ordering::SeqCst);
                    shout(&format!("{name} hangs; RUST_ROUTINES_SEED={seed}; parked: {parked:?}"));
                    abort();
                }
            }
        }
    });
    let (start, mut cases, mut operations) = (Instant::now(), 0, 0);
    while start.elapsed() < duration {
        let seed = first.wrapping_add(cases);
        current.store(seed, Ordering::SeqCst);
        progress.send(()).expect("the watchdog is there");
        let case = AssertUnwindSafe(|| {
            let doomed = doomed.then(|| runtime(1 + usize::from(seed % 2 == 0)));
            Case::new(seed, doomed.is_some())
                .run(runtimes.each_ref().map(|runtime| runtime.handle()), doomed)
        });
        match catch_unwind(case) {
            Ok(count) => operations += count,
            Err(payload) => {
                shout(&format!("{name} failed; RUST_ROUTINES_SEED={seed}"));
                resume_unwind(payload);
            }
        }
        cases += 1;
    }
    println!("{name}: {cases} cases, {operations} operations");
    drop(progress);
    watchdog.join().expect("the watchdog does not panic");
    runtimes.into_iter().for_each(Runtime::shutdown);
}

// Breaks if in any mix of flavours, operations and participants a message is lost, doubled, dropped twice or
// never, or overtakes another; if a failed send does not give it back; or if somebody is not woken.
#[test]
fn messages_are_conserved() {
    stress("messages_are_conserved", false);
}

// Breaks if the same is not so when some of the routines are unwound in the midst of what they do: what sits in
// their sends is dropped once, and whoever deals with them goes on.
#[test]
fn messages_are_conserved_in_forced_shutdown() {
    stress("messages_are_conserved_in_forced_shutdown", true);
}

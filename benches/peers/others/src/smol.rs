//! Tasks of smol on its global executor, with the channels and the mutex that it brings. It has no rendezvous: those are
//! flume's. Reads of files are std's, done on its threads for what blocks. What selects is a race of all receives, which
//! begins with a random one as `tokio::select!` does.

use std::env;
use std::fs::File;
use std::hint::spin_loop;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use smol::channel::{Receiver, RecvError, Sender, bounded, unbounded};
use smol::future::{FutureExt, race, yield_now};
use smol::lock::Mutex;
use smol::{Task, Timer, block_on, spawn, unblock};

use crate::Options;
use crate::workload::{
    BATCH, BLOCK, BURST, CAPACITY, CROWD, FAN_OUT, HEAVY, LAST_PRIME, LEAVES, LIMIT, Numbers,
    PAIRS, PRIMES, PRODUCERS, READERS, RIVALS, SLEEPERS, Workload, block_of, cached_file, compute,
    crowd, even, first_byte, late, lateness, nap, uneven,
};

pub(crate) fn run(options: &Options) -> Option<Numbers> {
    // SAFETY: there is no other thread yet.
    unsafe { env::set_var("SMOL_THREADS", options.workers().to_string()) };
    Some(match options.workload {
        Workload::Yield => in_task(options, yields),
        Workload::SpawnJoin => in_task(options, spawn_join),
        Workload::SpawnBatch => in_task(options, spawn_batch),
        Workload::PingPong => in_task(options, ping_pong),
        Workload::PingPongs => in_task(options, ping_pongs),
        Workload::Spsc => in_task(options, spsc),
        Workload::Mpmc => in_task(options, mpmc),
        Workload::Mpsc => in_task(options, mpsc),
        Workload::Select4 => in_task(options, select_4),
        Workload::Select32 => in_task(options, select_32),
        Workload::Mutex => in_task(options, mutex),
        Workload::MutexOfMany => in_task(options, mutex_of_many),
        Workload::Files => {
            LazyLock::force(&FILE);
            in_task(options, files)
        }
        Workload::Sieve => in_task(options, sieve),
        Workload::Skynet => in_task(options, skynet),
        Workload::TimerChurn => in_task(options, timer_churn),
        Workload::CpuEven => in_task(options, |turns| batches(turns, even, 1)),
        Workload::CpuUneven => in_task(options, |turns| batches(turns, uneven, 1)),
        Workload::CpuOneWorker => {
            let workers = options.workers();
            in_task(options, move |turns| batches(turns, even, workers))
        }
        Workload::Sleeps => lateness(|| block_on(spawn(sleeps()))),
        Workload::Parked100k => parked(100_000),
        Workload::Parked1m => parked(1_000_000),
        _ => return None,
    })
}

fn in_task<F>(options: &Options, work: impl Fn(u64) -> F) -> Numbers
where
    F: Future<Output = ()> + Send + 'static,
{
    options.workload.measure(options.seconds, |turns| block_on(spawn(work(turns))))
}

async fn yields(turns: u64) {
    let other = spawn(one_yields(turns / 2));
    one_yields(turns / 2).await;
    other.await;
}

async fn one_yields(turns: u64) {
    for _ in 0..turns {
        yield_now().await;
    }
}

async fn spawn_join(turns: u64) {
    for turn in 0..turns {
        assert_eq!(spawn(async move { turn }).await, turn);
    }
}

async fn spawn_batch(turns: u64) {
    let mut tasks = Vec::with_capacity(BATCH as usize);
    for batch in 0..turns / BATCH {
        tasks.extend((0..BATCH).map(|number| spawn(async move { batch + number })));
        for (number, task) in tasks.drain(..).enumerate() {
            assert_eq!(task.await, batch + number as u64);
        }
    }
}

async fn ping_pong(turns: u64) {
    let (ping, pings) = flume::bounded(0);
    let (pong, pongs) = flume::bounded(0);
    let other = spawn(async move {
        while let Ok(number) = pings.recv_async().await {
            pong.send_async(number + 1).await.expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send_async(turn).await.expect("the other end is there");
        assert_eq!(pongs.recv_async().await, Ok(turn + 1));
    }
    drop(ping);
    other.await;
}

async fn ping_pongs(turns: u64) {
    let pairs: Vec<_> = (0..PAIRS).map(|_| spawn(ping_pong(turns / PAIRS))).collect();
    for pair in pairs {
        pair.await;
    }
}

async fn spsc(turns: u64) {
    let (sender, receiver) = bounded(CAPACITY);
    let producer = spawn(produce(sender, turns));
    for turn in 0..turns {
        assert_eq!(receiver.recv().await, Ok(turn));
    }
    producer.await;
}

async fn mpmc(turns: u64) {
    let share = turns / PRODUCERS;
    let (sender, receiver) = bounded(CAPACITY);
    let consumers: Vec<_> = (0..PRODUCERS)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(async move {
                let mut sum = 0;
                while let Ok(number) = receiver.recv().await {
                    sum += number;
                }
                sum
            })
        })
        .collect();
    for _ in 0..PRODUCERS {
        spawn(produce(sender.clone(), share)).detach();
    }
    drop(sender);
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.await;
    }
    assert_eq!(sum, PRODUCERS * (share * (share - 1) / 2));
}

async fn mpsc(turns: u64) {
    let share = BURST / PRODUCERS;
    for _ in 0..turns / BURST {
        let (sender, receiver) = unbounded();
        for _ in 0..PRODUCERS {
            spawn(produce(sender.clone(), share)).detach();
        }
        drop(sender);
        let mut sum = 0;
        while let Ok(number) = receiver.recv().await {
            sum += number;
        }
        assert_eq!(sum, PRODUCERS * (share * (share - 1) / 2));
    }
}

async fn select_4(turns: u64) {
    let (senders, receivers) = feed(4, turns);
    let mut sum = 0;
    for _ in 0..turns {
        sum += any_of_4(&receivers).await.expect("a sender is there");
    }
    check_selected(sum, &senders, turns);
}

async fn select_32(turns: u64) {
    let (senders, receivers) = feed(32, turns);
    let (left, right) = receivers.split_at(16);
    let mut sum = 0;
    for _ in 0..turns {
        let message = race(any_of_16(left), any_of_16(right)).await;
        sum += message.expect("a sender is there");
    }
    check_selected(sum, &senders, turns);
}

async fn any_of_16(receivers: &[Receiver<u64>]) -> Result<u64, RecvError> {
    let any = |group: usize| any_of_4(&receivers[group * 4..][..4]);
    race(race(any(0), any(1)), race(any(2), any(3))).await
}

async fn any_of_4(receivers: &[Receiver<u64>]) -> Result<u64, RecvError> {
    let [a, b, c, d] = receivers else { panic!("these are not four") };
    race(race(a.recv(), b.recv()), race(c.recv(), d.recv())).await
}

/// Channels, and a producer for each. The senders are returned so that no channel is ready because its end has come.
fn feed(channels: u64, turns: u64) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
    let channel = |_| {
        let (sender, receiver) = bounded(CAPACITY);
        spawn(produce(sender.clone(), turns / channels)).detach();
        (sender, receiver)
    };
    (0..channels).map(channel).unzip()
}

fn check_selected(sum: u64, senders: &[Sender<u64>], turns: u64) {
    let channels = senders.len() as u64;
    let share = turns / channels;
    assert_eq!(sum, channels * (share * (share - 1) / 2));
}

async fn produce(sender: Sender<u64>, turns: u64) {
    for turn in 0..turns {
        sender.send(turn).await.expect("a receiver is there");
    }
}

async fn mutex(turns: u64) {
    contend(turns, RIVALS).await;
}

async fn mutex_of_many(turns: u64) {
    contend(turns, CROWD).await;
}

async fn contend(turns: u64, rivals: u64) {
    let count = Arc::new(Mutex::new(0));
    let all: Vec<_> = (0..rivals)
        .map(|_| {
            let count = count.clone();
            spawn(async move {
                for _ in 0..turns / rivals {
                    *count.lock().await += 1;
                }
            })
        })
        .collect();
    for rival in all {
        rival.await;
    }
    assert_eq!(*count.lock().await, turns);
}

static FILE: LazyLock<File> = LazyLock::new(cached_file);

async fn files(turns: u64) {
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            spawn(async move {
                let mut buffer = vec![0; BLOCK];
                for turn in 0..turns / READERS {
                    let block = block_of(reader, turn);
                    let read = unblock(move || {
                        let offset = block * BLOCK as u64;
                        FILE.read_exact_at(&mut buffer, offset).map(|()| buffer)
                    });
                    buffer = read.await.expect("the file is that long");
                    assert_eq!(buffer[0], first_byte(block));
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await;
    }
}

async fn sieve(turns: u64) {
    for _ in 0..turns {
        let (sender, mut numbers) = flume::bounded(0);
        let generator = async move {
            for number in 2..=LAST_PRIME {
                sender.send_async(number).await.expect("a filter is there");
            }
        };
        spawn(generator).detach();
        let mut prime = 0;
        for _ in 0..PRIMES {
            prime = numbers.recv_async().await.expect("there is one more");
            let (sender, rest) = flume::bounded(0);
            let unfiltered = mem::replace(&mut numbers, rest);
            let filter = async move {
                while let Ok(number) = unfiltered.recv_async().await {
                    if number % prime != 0 {
                        sender.send_async(number).await.expect("a filter is there");
                    }
                }
            };
            spawn(filter).detach();
        }
        assert_eq!(prime, LAST_PRIME);
        assert!(numbers.recv_async().await.is_err());
    }
}

async fn skynet(turns: u64) {
    for _ in 0..turns / LEAVES {
        let (sender, result) = bounded(1);
        grow(sender, 0, LEAVES);
        assert_eq!(result.recv().await, Ok(LEAVES * (LEAVES - 1) / 2));
    }
}

/// Spawns a node, which sends the sum of the numbers of its leaves.
fn grow(parent: Sender<u64>, first: u64, leaves: u64) {
    let node = async move {
        if leaves == 1 {
            parent.send(first).await.expect("the parent waits");
            return;
        }
        let (sender, sums) = bounded(FAN_OUT as usize);
        let share = leaves / FAN_OUT;
        for child in 0..FAN_OUT {
            grow(sender.clone(), first + child * share, share);
        }
        let mut sum = 0;
        for _ in 0..FAN_OUT {
            sum += sums.recv().await.expect("a child is there");
        }
        parent.send(sum).await.expect("the parent waits");
    };
    spawn(node).detach();
}

/// Each receive sets a timer and stops it, as the answer comes in time.
async fn timer_churn(turns: u64) {
    let (ping, pings) = bounded(1);
    let (pong, pongs) = bounded(1);
    let other = spawn(async move {
        while let Ok(number) = pings.recv().await {
            pong.send(number + 1).await.expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send(turn).await.expect("the other end is there");
        let late = async {
            Timer::after(LIMIT).await;
            Err(RecvError)
        };
        assert_eq!(pongs.recv().or(late).await, Ok(turn + 1));
    }
    drop(ping);
    other.await;
}

/// Batches of computation, which wait on one worker of so many: the others are busy until all do.
async fn batches(turns: u64, rounds: fn(u64) -> u64, workers: usize) {
    for _ in 0..turns {
        let enough = busy_others(workers - 1);
        let (arrival, arrivals) = unbounded();
        let (starts, tasks): (Vec<_>, Vec<_>) = (0..HEAVY)
            .map(|number| {
                let arrival = arrival.clone();
                let (start, started) = bounded(1);
                let task = spawn(async move {
                    arrival.send(()).await.expect("the other end is there");
                    started.recv().await.expect("the other end is there");
                    compute(rounds(number))
                });
                (start, task)
            })
            .unzip();
        for _ in 0..HEAVY {
            arrivals.recv().await.expect("the other end is there");
        }
        enough.store(true, Ordering::Relaxed);
        for start in starts {
            start.send(()).await.expect("the other end is there");
        }
        for task in tasks {
            assert_ne!(task.await, 0);
        }
    }
}

/// Keeps so many workers busy until it is told that it is enough, none of which is that of the caller: it does not give
/// way until they are.
fn busy_others(count: usize) -> Arc<AtomicBool> {
    let enough = Arc::new(AtomicBool::new(false));
    let busy = Arc::new(AtomicUsize::new(0));
    for number in 1..=count {
        let (enough, now_busy) = (enough.clone(), busy.clone());
        let hog = async move {
            now_busy.fetch_add(1, Ordering::Relaxed);
            while !enough.load(Ordering::Relaxed) {
                spin_loop();
            }
        };
        spawn(hog).detach();
        // What was spawned last may be kept for this worker.
        spawn(async {}).detach();
        while busy.load(Ordering::Relaxed) < number {
            spin_loop();
        }
    }
    enough
}

async fn sleeps() -> Vec<Duration> {
    let sleeper = async |number| {
        let start = Instant::now();
        Timer::after(nap(number)).await;
        late(number, start.elapsed())
    };
    let sleepers: Vec<_> = (0..SLEEPERS).map(|number| spawn(sleeper(number))).collect();
    let mut all = Vec::with_capacity(sleepers.len());
    for sleeper in sleepers {
        all.push(sleeper.await);
    }
    all
}

fn parked(count: u64) -> Numbers {
    crowd(count, || block_on(spawn(park(count))), |parked| block_on(spawn(wake(parked))))
}

/// All wait for the end of one channel, whose sender is returned.
async fn park(count: u64) -> (Sender<()>, Vec<Task<()>>) {
    let (end, waiting) = bounded::<()>(1);
    let (all, arrival) = bounded(1);
    let arrived = Arc::new(AtomicU64::new(0));
    let task = |_| {
        let (waiting, all, arrived) = (waiting.clone(), all.clone(), arrived.clone());
        spawn(async move {
            if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                all.send(()).await.expect("the other end is there");
            }
            assert!(waiting.recv().await.is_err());
        })
    };
    let tasks = (0..count).map(task).collect();
    arrival.recv().await.expect("the last one comes");
    (end, tasks)
}

async fn wake((end, tasks): (Sender<()>, Vec<Task<()>>)) {
    drop(end);
    for task in tasks {
        task.await;
    }
}

//! Tasks of tokio, with its own channels where it has them; rendezvous are flume's, and the channel of many receivers is
//! async-channel's. Its files have no reads at a position: std's are done on its threads for what blocks. One worker is
//! tokio's runtime for a single thread, which is the faster one there.

use std::fs::File;
use std::hint::spin_loop;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::spawn;
use tokio::sync::mpsc::{Receiver, Sender, channel, unbounded_channel};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use crate::Options;
use crate::workload::{
    BATCH, BLOCK, BURST, CAPACITY, CROWD, FAN_OUT, HEAVY, LAST_PRIME, LEAVES, LIMIT, Numbers,
    PAIRS, PRIMES, PRODUCERS, READERS, RIVALS, SLEEPERS, Workload, block_of, cached_file, compute,
    crowd, even, first_byte, late, lateness, nap, uneven,
};

pub(crate) fn run(options: &Options) -> Option<Numbers> {
    Some(match options.workload {
        Workload::Yield => on_runtime(options, yields),
        Workload::SpawnJoin => on_runtime(options, spawn_join),
        Workload::SpawnBatch => on_runtime(options, spawn_batch),
        Workload::PingPong => on_runtime(options, ping_pong),
        Workload::PingPongs => on_runtime(options, ping_pongs),
        Workload::Spsc => on_runtime(options, spsc),
        Workload::Mpmc => on_runtime(options, mpmc),
        Workload::Mpsc => on_runtime(options, mpsc),
        Workload::Select4 => on_runtime(options, select_4),
        Workload::Select32 => on_runtime(options, select_32),
        Workload::Mutex => on_runtime(options, mutex),
        Workload::MutexOfMany => on_runtime(options, mutex_of_many),
        Workload::Files => {
            LazyLock::force(&FILE);
            on_runtime(options, files)
        }
        Workload::Sieve => on_runtime(options, sieve),
        Workload::Skynet => on_runtime(options, skynet),
        Workload::TimerChurn => on_runtime(options, timer_churn),
        Workload::CpuEven => on_runtime(options, |turns| batches(turns, even, 1)),
        Workload::CpuUneven => on_runtime(options, |turns| batches(turns, uneven, 1)),
        Workload::CpuOneWorker => {
            let workers = options.workers();
            on_runtime(options, move |turns| batches(turns, even, workers))
        }
        Workload::Sleeps => {
            let runtime = runtime(options.workers);
            lateness(|| finish(&runtime, sleeps()))
        }
        Workload::Parked100k => parked(options, 100_000),
        Workload::Parked1m => parked(options, 1_000_000),
        _ => return None,
    })
}

fn on_runtime<F>(options: &Options, work: impl Fn(u64) -> F) -> Numbers
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime(options.workers);
    options.workload.measure(options.seconds, |turns| finish(&runtime, work(turns)))
}

/// Does it in a task, as `block_on` is none.
fn finish<F>(runtime: &Runtime, work: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    runtime.block_on(runtime.spawn(work)).expect("the workload does not panic")
}

fn runtime(workers: Option<usize>) -> Runtime {
    let mut builder = match workers {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_time().build().expect("a runtime can be made")
}

async fn yields(turns: u64) {
    let other = spawn(one_yields(turns / 2));
    one_yields(turns / 2).await;
    other.await.expect("the other does not panic");
}

async fn one_yields(turns: u64) {
    for _ in 0..turns {
        yield_now().await;
    }
}

async fn spawn_join(turns: u64) {
    for turn in 0..turns {
        assert_eq!(spawn(async move { turn }).await.expect("the task does not panic"), turn);
    }
}

async fn spawn_batch(turns: u64) {
    let mut tasks = Vec::with_capacity(BATCH as usize);
    for batch in 0..turns / BATCH {
        tasks.extend((0..BATCH).map(|number| spawn(async move { batch + number })));
        for (number, task) in tasks.drain(..).enumerate() {
            assert_eq!(task.await.expect("the task does not panic"), batch + number as u64);
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
    other.await.expect("the other does not panic");
}

async fn ping_pongs(turns: u64) {
    let pairs: Vec<_> = (0..PAIRS).map(|_| spawn(ping_pong(turns / PAIRS))).collect();
    for pair in pairs {
        pair.await.expect("no pair panics");
    }
}

async fn spsc(turns: u64) {
    let (sender, mut receiver) = channel(CAPACITY);
    let producer = spawn(produce(sender, turns));
    for turn in 0..turns {
        assert_eq!(receiver.recv().await, Some(turn));
    }
    producer.await.expect("the producer does not panic");
}

async fn mpmc(turns: u64) {
    let share = turns / PRODUCERS;
    let (sender, receiver) = async_channel::bounded(CAPACITY);
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
        let sender = sender.clone();
        spawn(async move {
            for turn in 0..share {
                sender.send(turn).await.expect("a receiver is there");
            }
        });
    }
    drop(sender);
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.await.expect("no consumer panics");
    }
    assert_eq!(sum, PRODUCERS * (share * (share - 1) / 2));
}

async fn mpsc(turns: u64) {
    let share = BURST / PRODUCERS;
    for _ in 0..turns / BURST {
        let (sender, mut receiver) = unbounded_channel();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            spawn(async move {
                (0..share).for_each(|turn| sender.send(turn).expect("the receiver is there"));
            });
        }
        drop(sender);
        let mut sum = 0;
        while let Some(number) = receiver.recv().await {
            sum += number;
        }
        assert_eq!(sum, PRODUCERS * (share * (share - 1) / 2));
    }
}

/// Receives from all of an array, each under a name that `tokio::select!` can write a branch for.
macro_rules! select_of {
    ($turns:ident: $($receiver:ident)+) => {{
        let (senders, mut receivers) = feed($turns);
        let [$($receiver),+] = &mut receivers;
        let mut sum = 0;
        for _ in 0..$turns {
            let message = tokio::select! {
                $(message = $receiver.recv() => message,)+
            };
            sum += message.expect("a sender is there");
        }
        let channels = senders.len() as u64;
        let share = $turns / channels;
        assert_eq!(sum, channels * (share * (share - 1) / 2));
    }};
}

async fn select_4(turns: u64) {
    select_of!(turns: a b c d);
}

async fn select_32(turns: u64) {
    select_of!(turns: a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc dd ee ff);
}

/// Channels, and a producer for each. The senders are returned so that no channel is ready because its end has come.
fn feed<const N: usize>(turns: u64) -> (Vec<Sender<u64>>, [Receiver<u64>; N]) {
    let mut senders = Vec::new();
    let receivers = std::array::from_fn(|_| {
        let (sender, receiver) = channel(CAPACITY);
        spawn(produce(sender.clone(), turns / N as u64));
        senders.push(sender);
        receiver
    });
    (senders, receivers)
}

async fn produce(sender: Sender<u64>, turns: u64) {
    for turn in 0..turns {
        sender.send(turn).await.expect("the receiver is there");
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
        rival.await.expect("no rival panics");
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
                    let read = spawn_blocking(move || {
                        let offset = block * BLOCK as u64;
                        FILE.read_exact_at(&mut buffer, offset).map(|()| buffer)
                    });
                    let read = read.await.expect("the read does not panic");
                    buffer = read.expect("the file is that long");
                    assert_eq!(buffer[0], first_byte(block));
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.expect("no reader panics");
    }
}

async fn sieve(turns: u64) {
    for _ in 0..turns {
        let (sender, mut numbers) = flume::bounded(0);
        spawn(async move {
            for number in 2..=LAST_PRIME {
                sender.send_async(number).await.expect("a filter is there");
            }
        });
        let mut prime = 0;
        for _ in 0..PRIMES {
            prime = numbers.recv_async().await.expect("there is one more");
            let (sender, rest) = flume::bounded(0);
            let unfiltered = mem::replace(&mut numbers, rest);
            spawn(async move {
                while let Ok(number) = unfiltered.recv_async().await {
                    if number % prime != 0 {
                        sender.send_async(number).await.expect("a filter is there");
                    }
                }
            });
        }
        assert_eq!(prime, LAST_PRIME);
        assert!(numbers.recv_async().await.is_err());
    }
}

async fn skynet(turns: u64) {
    for _ in 0..turns / LEAVES {
        let (sender, mut result) = channel(1);
        grow(sender, 0, LEAVES);
        assert_eq!(result.recv().await, Some(LEAVES * (LEAVES - 1) / 2));
    }
}

/// Spawns a node, which sends the sum of the numbers of its leaves.
fn grow(parent: Sender<u64>, first: u64, leaves: u64) {
    spawn(async move {
        if leaves == 1 {
            parent.send(first).await.expect("the parent waits");
            return;
        }
        let (sender, mut sums) = channel(FAN_OUT as usize);
        let share = leaves / FAN_OUT;
        for child in 0..FAN_OUT {
            grow(sender.clone(), first + child * share, share);
        }
        let mut sum = 0;
        for _ in 0..FAN_OUT {
            sum += sums.recv().await.expect("a child is there");
        }
        parent.send(sum).await.expect("the parent waits");
    });
}

/// Each receive sets a timer and stops it, as the answer comes in time.
async fn timer_churn(turns: u64) {
    let (ping, mut pings) = channel(1);
    let (pong, mut pongs) = channel(1);
    let other = spawn(async move {
        while let Some(number) = pings.recv().await {
            pong.send(number + 1).await.expect("the other end is there");
        }
    });
    for turn in 0..turns {
        ping.send(turn).await.expect("the other end is there");
        assert_eq!(timeout(LIMIT, pongs.recv()).await, Ok(Some(turn + 1)));
    }
    drop(ping);
    other.await.expect("the other does not panic");
}

/// Batches of computation, which wait on one worker of so many: the others are busy until all do.
async fn batches(turns: u64, rounds: fn(u64) -> u64, workers: usize) {
    for _ in 0..turns {
        let enough = busy_others(workers - 1);
        let (arrival, mut arrivals) = unbounded_channel();
        let (starts, tasks): (Vec<_>, Vec<_>) = (0..HEAVY)
            .map(|number| {
                let arrival = arrival.clone();
                let (start, started) = oneshot::channel();
                let task = spawn(async move {
                    arrival.send(()).expect("the other end is there");
                    started.await.expect("the other end is there");
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
            start.send(()).expect("the other end is there");
        }
        for task in tasks {
            assert_ne!(task.await.expect("the task does not panic"), 0);
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
        spawn(hog);
        // What was spawned last may be kept for this worker.
        spawn(async {});
        while busy.load(Ordering::Relaxed) < number {
            spin_loop();
        }
    }
    enough
}

async fn sleeps() -> Vec<Duration> {
    let sleeper = async |number| {
        let start = Instant::now();
        sleep(nap(number)).await;
        late(number, start.elapsed())
    };
    let sleepers: Vec<_> = (0..SLEEPERS).map(|number| spawn(sleeper(number))).collect();
    let mut all = Vec::with_capacity(sleepers.len());
    for sleeper in sleepers {
        all.push(sleeper.await.expect("the task does not panic"));
    }
    all
}

fn parked(options: &Options, count: u64) -> Numbers {
    let runtime = runtime(options.workers);
    crowd(count, || finish(&runtime, park(count)), |parked| finish(&runtime, wake(parked)))
}

/// All wait for the notification that is returned.
async fn park(count: u64) -> (Arc<Notify>, Vec<JoinHandle<()>>) {
    let end = Arc::new(Notify::new());
    let all = Arc::new(Notify::new());
    let arrived = Arc::new(AtomicU64::new(0));
    let task = |_| {
        let (end, all, arrived) = (end.clone(), all.clone(), arrived.clone());
        spawn(async move {
            let notified = end.notified();
            if arrived.fetch_add(1, Ordering::Relaxed) + 1 == count {
                all.notify_one();
            }
            notified.await;
        })
    };
    let tasks = (0..count).map(task).collect();
    all.notified().await;
    (end, tasks)
}

async fn wake((end, tasks): (Arc<Notify>, Vec<JoinHandle<()>>)) {
    end.notify_waiters();
    for task in tasks {
        task.await.expect("the task does not panic");
    }
}

//! What the monitor sees, says and does about routines that keep their worker.

mod util;

use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rust_routines::channel::bounded;
use rust_routines::{Builder, Handle, Runtime, WaitReason, park, sleep, spawn, yield_now};
use util::{PATIENCE, bounded as in_time, eventually, hog, runtime, until_waiting};

/// Longer than it takes to be noticed.
const LONG: Duration = Duration::from_millis(100);

/// Fails if a routine that computes while others wait is not counted.
#[test]
fn hog_is_counted_while_others_wait() {
    in_time(|| {
        let runtime = runtime(1);
        let stop = Arc::new(AtomicBool::new(false));
        let other = runtime.spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::SeqCst) {
                    yield_now();
                }
            }
        });
        let handle = runtime.handle().clone();
        let before = runtime.metrics().stuck;
        let seen = runtime.spawn(move || hog(PATIENCE, || handle.metrics().stuck > before));
        assert!(seen.join().unwrap());
        stop.store(true, Ordering::SeqCst);
        other.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a routine that nobody waits for is blamed.
#[test]
fn lone_hog_is_not_counted() {
    in_time(|| {
        let runtime = runtime(1);
        runtime.spawn(|| hog(LONG, || false)).join().unwrap();
        assert_eq!(runtime.metrics().stuck, 0);
        assert_eq!(runtime.metrics().workers_spare, 0);
        runtime.shutdown();
    });
}

/// Fails if unstarted routines wait for a hog although there is another worker, or could be a spare one.
#[test]
fn unstarted_routines_get_past_a_hog() {
    in_time(|| {
        for workers in [1, 2, 3] {
            let runtime = runtime(workers);
            let ran = Arc::new(AtomicUsize::new(0));
            let hogs = runtime.spawn({
                let ran = ran.clone();
                move || {
                    for _ in 0..100 {
                        let ran = ran.clone();
                        drop(spawn(move || {
                            yield_now();
                            ran.fetch_add(1, Ordering::SeqCst)
                        }));
                    }
                    // Never lets go before all have run.
                    hog(PATIENCE, || ran.load(Ordering::SeqCst) == 100)
                }
            });
            assert!(
                hogs.join().unwrap(),
                "{} of 100 with {workers} workers",
                ran.load(Ordering::SeqCst)
            );
            assert!(runtime.metrics().workers_spare <= workers);
            runtime.shutdown();
        }
    });
}

/// Fails if a worker that looks around in the midst of work puts unstarted routines where nobody can take them from, behind
/// one that computes.
#[test]
fn nothing_is_bound_before_it_starts() {
    in_time(|| {
        let runtime = runtime(1);
        let ran = Arc::new(AtomicUsize::new(0));
        // So many that the worker looks around before it comes to the last.
        let woken: Vec<_> = (0..1000)
            .map(|number| {
                let ran = ran.clone();
                runtime.spawn(move || {
                    park();
                    number < 999 || hog(PATIENCE, || ran.load(Ordering::SeqCst) == 10)
                })
            })
            .collect();
        until_waiting(runtime.handle(), WaitReason::Park, 1000);
        let all: Vec<_> = woken.iter().map(|routine| routine.routine().clone()).collect();
        let wakes = move || {
            for _ in 0..10 {
                let ran = ran.clone();
                drop(spawn(move || ran.fetch_add(1, Ordering::SeqCst)));
            }
            all.iter().for_each(|routine| routine.unpark());
        };
        runtime.spawn(wakes).join().unwrap();
        assert!(woken.into_iter().all(|routine| routine.join().unwrap()));
        runtime.shutdown();
    });
}

/// Fails if routines that come from elsewhere wait behind hogs on all workers.
#[test]
fn spawns_from_outside_get_past_hogs() {
    in_time(|| {
        let runtime = runtime(2);
        let done = Arc::new(AtomicBool::new(false));
        let busy = Arc::new(AtomicUsize::new(0));
        let hogs: Vec<_> = (0..2)
            .map(|_| {
                let (done, busy) = (done.clone(), busy.clone());
                runtime.spawn(move || {
                    busy.fetch_add(1, Ordering::SeqCst);
                    hog(PATIENCE, || done.load(Ordering::SeqCst))
                })
            })
            .collect();
        eventually("both workers are busy", || busy.load(Ordering::SeqCst) == 2);
        runtime.spawn(|| sleep(Duration::from_millis(1))).join().unwrap();
        // Straight into the inbox of a worker that is stuck.
        let spread: Vec<_> = (0..4)
            .map(|_| Builder::new().spread().spawn_on(runtime.handle(), yield_now).unwrap())
            .collect();
        spread.into_iter().for_each(|routine| routine.join().unwrap());
        done.store(true, Ordering::SeqCst);
        hogs.into_iter().for_each(|hog| assert!(hog.join().unwrap()));
        runtime.shutdown();
    });
}

/// Fails if a worker that waits for a lock of std's, which another of its routines holds, goes unnoticed: nothing will
/// happen there any more.
#[test]
fn a_worker_that_waits_for_itself_is_counted() {
    in_time(|| {
        let runtime = runtime(1);
        let lock = Arc::new(Mutex::new(()));
        let ((locked, is_locked), (open, gate)) = (bounded(0), bounded::<()>(0));
        let holder = runtime.spawn({
            let lock = lock.clone();
            move || {
                let _guard = lock.lock().unwrap();
                locked.send(()).unwrap();
                gate.recv().unwrap_err()
            }
        });
        is_locked.recv().unwrap();
        let blocked = runtime.spawn({
            let handle = runtime.handle().clone();
            move || {
                let noticed = hog(PATIENCE, || handle.metrics().stuck > 0);
                (noticed, lock.try_lock().is_err())
            }
        });
        assert_eq!(blocked.join().unwrap(), (true, true));
        drop(open);
        holder.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a spare worker leaves routines that it has started, or keeps starting when nobody is stuck.
#[test]
fn spare_worker_keeps_what_it_started() {
    in_time(|| {
        let name = util::unique_name();
        let runtime = util::builder().name(name.clone()).workers(1).build().unwrap();
        let (started, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let hogs = runtime.spawn({
            let (started, go_on) = (started.clone(), go_on.clone());
            move || {
                let routines: Vec<_> = (0..20)
                    .map(|_| {
                        let (started, go_on) = (started.clone(), go_on.clone());
                        spawn(move || {
                            let home = std::thread::current().id();
                            started.fetch_add(1, Ordering::SeqCst);
                            while !go_on.load(Ordering::SeqCst) {
                                sleep(Duration::from_millis(1));
                                assert_eq!(std::thread::current().id(), home);
                            }
                        })
                    })
                    .collect();
                assert!(hog(PATIENCE, || started.load(Ordering::SeqCst) == 20));
                routines
            }
        });
        let routines = hogs.join().unwrap();
        assert_eq!(runtime.metrics().workers_spare, 1);
        // Not stuck any more: new ones start on the regular worker.
        let regular = format!("{name}-0");
        eventually("the spare one starts nothing", || {
            let home = runtime.spawn(|| std::thread::current().name().map(str::to_owned));
            home.join().unwrap() == Some(regular.clone())
        });
        go_on.store(true, Ordering::SeqCst);
        routines.into_iter().for_each(|routine| routine.join().unwrap());
        runtime.shutdown();
        util::until_no_threads(&name);
    });
}

/// Fails if nobody sees what waits behind a hog on a spare worker while the others sleep.
#[test]
fn a_hog_on_a_spare_worker_is_seen_while_the_others_sleep() {
    in_time(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let holds = move || {
            let (ends, stops, seen_by) = (stop.clone(), stop, handle.clone());
            let yields = spawn(move || {
                park();
                while !stops.load(Ordering::SeqCst) {
                    yield_now();
                }
            });
            let hogs = spawn(move || {
                park();
                let before = seen_by.metrics().stuck;
                let seen = hog(PATIENCE, || seen_by.metrics().stuck > before);
                ends.store(true, Ordering::SeqCst);
                seen
            });
            // Until the spare worker has started both.
            assert!(hog(PATIENCE, || handle.metrics().parked == 2));
            (yields, hogs)
        };
        // On a stack that is not kept: to give back memory of one, the regular worker would wake up.
        let holds = Builder::new().stack_size(1 << 20).spawn_on(runtime.handle(), holds).unwrap();
        let (yields, hogs) = holds.join().unwrap();
        eventually("the regular worker sleeps", || runtime.metrics().workers_sleeping == 1);
        yields.routine().unpark();
        hogs.routine().unpark();
        assert!(hogs.join().unwrap());
        yields.join().unwrap();
        runtime.shutdown();
    });
}

/// Fails if a shutdown misses what is suspended on a spare worker, or its thread.
#[test]
fn shutdown_with_spare_workers() {
    in_time(|| {
        for round in 0..5 {
            let name = util::unique_name();
            let runtime = util::builder().name(name.clone()).workers(1).build().unwrap();
            let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let hogs = runtime.spawn({
                let (started, ended) = (started.clone(), ended.clone());
                move || {
                    for _ in 0..10 {
                        let (started, ended) = (started.clone(), ended.clone());
                        drop(spawn(move || {
                            let _end = util::OnDrop(|| {
                                ended.fetch_add(1, Ordering::SeqCst);
                            });
                            started.fetch_add(1, Ordering::SeqCst);
                            sleep(Duration::MAX);
                        }));
                    }
                    assert!(hog(PATIENCE, || started.load(Ordering::SeqCst) == 10));
                    if round % 2 == 0 {
                        sleep(Duration::MAX);
                    }
                }
            });
            eventually("all have started", || started.load(Ordering::SeqCst) == 10);
            let left = runtime.shutdown_timeout(Duration::ZERO);
            assert!(left.len() >= 10, "{left:?}");
            assert_eq!(ended.load(Ordering::SeqCst), 10);
            drop(hogs);
            util::until_no_threads(&name);
        }
    });
}

/// What a tracing event said.
#[derive(Clone, Debug, Default)]
struct Said {
    message: String,
    routine: String,
    name: String,
    spawned_at: String,
}

/// Collects the events of this program.
#[derive(Clone, Default)]
struct Listener {
    /// Whether it panics at what it has heard.
    panics: bool,
    said: Arc<Mutex<Vec<Said>>>,
    spans: Arc<AtomicU64>,
}

impl tracing::field::Visit for Said {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "routine" => self.routine = text,
            "name" => self.name = text,
            "spawned_at" => self.spawned_at = text,
            _ => {}
        }
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(self.spans.fetch_add(1, Ordering::SeqCst) + 1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.said.lock().unwrap().push(said);
        if self.panics {
            resume_unwind(Box::new("heard enough"));
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Keeps the only worker, while another routine waits, until the monitor has counted it.
fn get_counted(runtime: &Runtime, name: &str) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let waits = runtime.spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::SeqCst) {
                yield_now();
            }
        }
    });
    let handle: Handle = runtime.handle().clone();
    let before = runtime.metrics().stuck;
    let hogs = Builder::new().name(name.to_owned()).spawn_on(runtime.handle(), move || {
        assert!(hog(PATIENCE, || handle.metrics().stuck > before));
        // The event comes after the count.
        hog(Duration::from_millis(30), || false);
    });
    let hogs = hogs.unwrap();
    let id = hogs.routine().id().to_string().parse().unwrap();
    hogs.join().unwrap();
    stop.store(true, Ordering::SeqCst);
    waits.join().unwrap();
    id
}

/// Fails if the event does not name the hog and its origin, or is repeated for every hog from there.
#[test]
fn event_names_the_hog_once_per_site() {
    in_time(|| {
        if !util::is_child() {
            let output = util::child("event_names_the_hog_once_per_site", &[]);
            assert!(output.status.success(), "{}", util::text(&output));
            return;
        }
        let listener = Listener::default();
        tracing::subscriber::set_global_default(listener.clone()).unwrap();
        let runtime = runtime(1);
        let start = Instant::now();
        let first = get_counted(&runtime, "gobbler");
        for _ in 0..3 {
            get_counted(&runtime, "glutton");
        }
        assert!(runtime.metrics().stuck >= 4);
        assert!(start.elapsed() < util::LIMIT);
        runtime.shutdown();
        let said = listener.said.lock().unwrap().clone();
        let of: Vec<_> =
            said.iter().filter(|said| said.message.contains("kept its worker")).collect();
        // Where the machine is busy, the routine that waits may be found in one stay, too.
        let hogs = ["\"gobbler\"", "\"glutton\""];
        let named: Vec<_> = of.iter().filter(|said| hogs.contains(&&*said.name)).collect();
        assert_eq!(named.len(), 1, "{said:#?}");
        assert_eq!(named[0].routine, first.to_string());
        assert!(named[0].name.contains("gobbler"), "{named:?}");
        assert!(named[0].spawned_at.contains("monitor.rs"), "{named:?}");
    });
}

/// Fails if a listener that panics takes the shutdown along.
#[test]
fn listener_that_panics_keeps_nobody() {
    in_time(|| {
        if !util::is_child() {
            let output = util::child("listener_that_panics_keeps_nobody", &[]);
            assert!(output.status.success(), "{}", util::text(&output));
            return;
        }
        let listener = Listener { panics: true, ..Listener::default() };
        tracing::subscriber::set_global_default(listener.clone()).unwrap();
        let runtime = runtime(1);
        get_counted(&runtime, "gobbler");
        runtime.shutdown();
        assert_eq!(listener.said.lock().unwrap().len(), 1);
    });
}

/// Fails if a worker is blamed for what the system does, which lets others run in the midst of a routine.
#[cfg(target_os = "linux")]
#[test]
fn preempted_worker_is_not_counted() {
    in_time(|| {
        // All on the same processor.
        let alone = || util::builder().workers(1).bind_workers(true).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let rivals: Vec<_> = (0..16)
            .map(|_| {
                let (rival, stop) = (alone(), stop.clone());
                drop(rival.spawn(move || hog(PATIENCE, || stop.load(Ordering::SeqCst))));
                rival
            })
            .collect();
        let runtime = alone();
        let gaps = Arc::new(AtomicUsize::new(0));
        let neighbours: Vec<_> = (0..2)
            .map(|_| {
                let gaps = gaps.clone();
                runtime.spawn(move || {
                    let begun = Instant::now();
                    while gaps.load(Ordering::SeqCst) < 20 && begun.elapsed() < PATIENCE {
                        let resumed = Instant::now();
                        hog(Duration::from_micros(50), || false);
                        // Longer than it takes the monitor to look twice.
                        let long = resumed.elapsed() > Duration::from_millis(25);
                        gaps.fetch_add(usize::from(long), Ordering::SeqCst);
                        yield_now();
                    }
                })
            })
            .collect();
        neighbours.into_iter().for_each(|routine| routine.join().unwrap());
        stop.store(true, Ordering::SeqCst);
        assert!(gaps.load(Ordering::SeqCst) >= 20, "hardly preempted");
        let metrics = runtime.metrics();
        assert_eq!((metrics.stuck, metrics.workers_spare), (0, 0));
        rivals.into_iter().for_each(Runtime::shutdown);
        runtime.shutdown();
    });
}

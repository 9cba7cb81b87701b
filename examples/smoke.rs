use rust_routines::channel::{bounded, unbounded};
use std::time::{Duration, Instant};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n: u32 = a.get(2).map_or(1_000_000, |s| s.parse().unwrap());
    let w: usize = a.get(3).map_or(2, |s| s.parse().unwrap());
    let rt = rust_routines::Runtime::builder().workers(w).build().unwrap();
    let mode = a[1].clone();
    for _ in 0..5 {
        let mode = mode.clone();
        rt.spawn(move || {
            let t = Instant::now();
            match &*mode {
                "seq" => {
                    for _ in 0..n {
                        rust_routines::spawn(|| ()).join().unwrap();
                    }
                }
                "batch" => {
                    for _ in 0..n / 1000 {
                        let hs: Vec<_> = (0..1000).map(|_| rust_routines::spawn(|| ())).collect();
                        for h in hs {
                            h.join().unwrap();
                        }
                    }
                }
                "yield" => {
                    let y = rust_routines::spawn(move || {
                        for _ in 0..n / 2 {
                            rust_routines::yield_now()
                        }
                    });
                    for _ in 0..n / 2 {
                        rust_routines::yield_now()
                    }
                    y.join().unwrap();
                }
                "rdv" => {
                    let (a, b) = bounded::<u32>(0);
                    let (c, d) = bounded::<u32>(0);
                    let h = rust_routines::spawn(move || {
                        while let Ok(v) = b.recv() {
                            c.send(v).unwrap();
                        }
                    });
                    for i in 0..n {
                        a.send(i).unwrap();
                        d.recv().unwrap();
                    }
                    drop(a);
                    h.join().unwrap();
                }
                "rdv100" => {
                    let hs: Vec<_> = (0..100)
                        .map(|_| {
                            rust_routines::spawn(move || {
                                let (a, b) = bounded::<u32>(0);
                                let (c, d) = bounded::<u32>(0);
                                let h = rust_routines::spawn(move || {
                                    while let Ok(v) = b.recv() {
                                        c.send(v).unwrap();
                                    }
                                });
                                for i in 0..n / 100 {
                                    a.send(i).unwrap();
                                    d.recv().unwrap();
                                }
                                drop(a);
                                h.join().unwrap();
                            })
                        })
                        .collect();
                    for h in hs {
                        h.join().unwrap();
                    }
                }
                "spsc" => {
                    let (a, b) = bounded::<u32>(128);
                    let h = rust_routines::spawn(move || {
                        for i in 0..n {
                            a.send(i).unwrap();
                        }
                    });
                    b.iter().count();
                    h.join().unwrap();
                }
                "mpsc" => {
                    let (a, b) = unbounded::<u32>();
                    for _ in 0..4 {
                        let a = a.clone();
                        rust_routines::spawn(move || {
                            for i in 0..n / 4 {
                                a.send(i).unwrap();
                            }
                        });
                    }
                    drop(a);
                    b.iter().count();
                }
                "mpmc" => {
                    let (a, b) = bounded::<u32>(128);
                    let hs: Vec<_> = (0..4)
                        .map(|_| {
                            let b = b.clone();
                            rust_routines::spawn(move || b.iter().count())
                        })
                        .collect();
                    for _ in 0..4 {
                        let a = a.clone();
                        rust_routines::spawn(move || {
                            for i in 0..n / 4 {
                                a.send(i).unwrap();
                            }
                        });
                    }
                    drop(a);
                    for h in hs {
                        h.join().unwrap();
                    }
                }
                "sky" => {
                    fn sky(c: rust_routines::channel::Sender<u64>, num: u64, size: u64) {
                        if size == 1 {
                            c.send(num).unwrap();
                            return;
                        }
                        let (tx, rx) = bounded(10);
                        for i in 0..10 {
                            let tx = tx.clone();
                            let s = size / 10;
                            rust_routines::spawn(move || sky(tx, num + i * s, s));
                        }
                        c.send((0..10).map(|_| rx.recv().unwrap()).sum()).unwrap();
                    }
                    let (tx, rx) = bounded(1);
                    rust_routines::spawn(move || sky(tx, 0, 1_000_000));
                    assert_eq!(rx.recv().unwrap(), 499999500000);
                }
                "sieve" => {
                    let (tx, mut rx) = bounded(0);
                    rust_routines::spawn(move || {
                        for i in 2.. {
                            if tx.send(i).is_err() {
                                break;
                            }
                        }
                    });
                    for _ in 0..1500 {
                        let p: u32 = rx.recv().unwrap();
                        let (tx1, rx1) = bounded(0);
                        let r = rx;
                        rust_routines::spawn(move || {
                            for i in r {
                                if i % p != 0 && tx1.send(i).is_err() {
                                    break;
                                }
                            }
                        });
                        rx = rx1;
                    }
                }
                "sleep" => {
                    for _ in 0..n {
                        rust_routines::sleep(Duration::from_micros(1))
                    }
                }
                "million" => {
                    let (a, b) = unbounded::<u32>();
                    let (c, d) = unbounded::<u32>();
                    for _ in 0..n {
                        let (b, c) = (b.clone(), c.clone());
                        rust_routines::spawn(move || {
                            let v = b.recv().unwrap();
                            c.send(v).unwrap();
                        });
                    }
                    let s = t.elapsed();
                    while rust_routines::Handle::try_current().unwrap().metrics().parked < n as u64
                    {
                        rust_routines::sleep(Duration::from_millis(1));
                    }
                    eprintln!("spawn {:?} +park {:?}", s / n, t.elapsed() / n);
                    let t = Instant::now();
                    for i in 0..n {
                        a.send(i).unwrap();
                    }
                    for _ in 0..n {
                        d.recv().unwrap();
                    }
                    eprintln!("wake {:?}", t.elapsed() / n);
                }
                _ => panic!(),
            }
            eprintln!("{mode}: {:?} total, {:?} each", t.elapsed(), t.elapsed() / n);
        })
        .join()
        .unwrap();
    }
    if a.len() > 4 {
        eprintln!("{:?}", rt.metrics());
    }
}

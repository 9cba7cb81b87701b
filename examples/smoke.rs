use rust_routines::channel::{bounded, unbounded};
use std::time::{Duration, Instant};
fn main() {
    let t = Instant::now();
    let rt = rust_routines::Runtime::builder().build().unwrap();
    eprintln!("built {:?}", t.elapsed());
    assert_eq!(rt.spawn(|| 5).join().unwrap(), 5);
    rt.spawn(|| {
        let t = Instant::now();
        rust_routines::sleep(Duration::from_millis(5));
        eprintln!("slept {:?}", t.elapsed());
        let n = 1_000_000u32;
        let t = Instant::now();
        for _ in 0..n {
            rust_routines::spawn(|| ()).join().unwrap();
        }
        eprintln!("spawn+join seq {:?}", t.elapsed() / n);
        let t = Instant::now();
        let hs: Vec<_> = (0..n).map(|_| rust_routines::spawn(|| ())).collect();
        for h in hs {
            h.join().unwrap();
        }
        eprintln!("spawn+join batch {:?}", t.elapsed() / n);
        let t = Instant::now();
        let y = rust_routines::spawn(move || {
            for _ in 0..n {
                rust_routines::yield_now()
            }
        });
        for _ in 0..n {
            rust_routines::yield_now()
        }
        y.join().unwrap();
        eprintln!("yield {:?}", t.elapsed() / n / 2);
        let (a, b) = bounded::<u32>(0);
        let (c, d) = bounded::<u32>(0);
        let h = rust_routines::spawn(move || {
            while let Ok(v) = b.recv() {
                c.send(v).unwrap();
            }
        });
        let t = Instant::now();
        for i in 0..n {
            a.send(i).unwrap();
            d.recv().unwrap();
        }
        eprintln!("rendezvous round trip {:?}", t.elapsed() / n);
        drop(a);
        h.join().unwrap();
        let (a, b) = bounded::<u32>(128);
        let t = Instant::now();
        let h = rust_routines::spawn(move || {
            for i in 0..n * 4 {
                a.send(i).unwrap();
            }
        });
        b.iter().count();
        eprintln!("spsc {:?}", t.elapsed() / n / 4);
        h.join().unwrap();
        let (a, b) = unbounded::<u32>();
        let (c, d) = unbounded::<u32>();
        let t = Instant::now();
        for _ in 0..n {
            let (b, c) = (b.clone(), c.clone());
            rust_routines::spawn(move || {
                let v = b.recv().unwrap();
                c.send(v).unwrap();
            });
        }
        eprintln!("1M spawn {:?}", t.elapsed() / n);
        let t2 = Instant::now();
        drop(c);
        while rust_routines::Handle::try_current().unwrap().metrics().parked < n as u64 {
            rust_routines::sleep(Duration::from_millis(1));
        }
        eprintln!("1M started+parked {:?}; total {:?} each", t2.elapsed() / n, t.elapsed() / n);
        let rss = std::fs::read_to_string("/proc/self/status").unwrap();
        for l in rss.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmPTE")) {
            eprintln!("{l}");
        }
        let t = Instant::now();
        for i in 0..n {
            a.send(i).unwrap();
        }
        assert_eq!(d.iter().count(), n as usize);
        eprintln!("1M wake {:?}", t.elapsed() / n);
    })
    .join()
    .unwrap();
    eprintln!("{:#?}", rt.metrics());
    rt.shutdown();
}

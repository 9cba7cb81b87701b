//! What becomes of a program that would use io_uring where the kernel denies it, as many containers do.

mod util;

use std::fmt;
use std::io::ErrorKind;
#[cfg(feature = "io-uring")]
use std::net::UdpSocket;

use rust_routines::{Builder, Handle, Runtime, drivers};
use util::bounded as in_time;

/// Fails if the global runtime cannot be had although another driver is there, or replaces the driver without a
/// word; or if a runtime that was asked for a driver by name gets another, or an error that does not say why.
#[test]
fn the_global_runtime_does_without_and_others_say_why_not() {
    in_time(|| {
        if drivers::io_names().all(|name| name != "uring") {
            return;
        }
        let other = drivers::io_names().find(|name| *name != "uring");
        if !util::is_child() {
            let test = "the_global_runtime_does_without_and_others_say_why_not";
            let output = util::child(test, &[("RUST_ROUTINES_IO", "uring")]);
            let text = util::text(&output);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            let warnings = text.matches("the I/O driver uring cannot be used").count();
            assert_eq!(warnings, usize::from(other.is_some()), "{text}");
            return;
        }
        tracing::subscriber::set_global_default(Printer).unwrap();
        util::refuse(libc::SYS_io_uring_setup, libc::EPERM).unwrap();
        for _ in 0..2 {
            let error = Runtime::builder().io_named("uring").unwrap().build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("io_uring"), "{error}");

            let driver = || Handle::try_current().unwrap().metrics().io_driver;
            match (Builder::new().spawn(driver), other) {
                (Ok(routine), Some(other)) => assert_eq!(routine.join().unwrap(), other),
                (Err(error), None) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
                (result, _) => panic!("{result:?}"),
            }
        }
    });
}

/// Fails if the look for io_uring, which the first routine takes as well, leaves an interruption behind that hits what
/// its thread waits for next.
#[cfg(feature = "io-uring")]
#[test]
fn asking_for_io_uring_interrupts_nothing() {
    in_time(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(util::QUIET / 2)).unwrap();
        for _ in 0..3 {
            if let Err(error) = drivers::Uring::available() {
                return println!("not tried, as there is no io_uring: {error}");
            }
            let nothing = socket.recv(&mut [0]);
            assert_eq!(util::error_kind(nothing), Some(ErrorKind::WouldBlock));
        }
    });
}

/// Prints the messages of tracing's events.
struct Printer;

impl tracing::field::Visit for Printer {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            eprintln!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Printer {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Printer);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

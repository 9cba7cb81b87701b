//! The concurrent prime sieve, known from Go: a chain of routines, one for each prime found, of which each passes on
//! the numbers that its prime does not divide. It finds primes slowly and shows well what a hand-over costs: for the
//! first 1,500 primes, some 2.7 million.
//!
//! `cargo run --release --example sieve -- --primes 1500`

use std::time::Instant;

use clap::Parser;
use rust_routines::channel::{Receiver, bounded};
use rust_routines::spawn;

#[derive(Debug, Parser)]
#[command(about = "Finds primes with a routine for each")]
struct Options {
    /// How many primes to find
    #[arg(long, default_value_t = 100)]
    primes: usize,
}

/// Two, three, four, …, until nobody listens.
fn numbers() -> Receiver<u64> {
    let (sender, numbers) = bounded(0);
    spawn(move || (2..).try_for_each(|number| sender.send(number)));
    numbers
}

/// Those of `numbers` that `prime` does not divide.
fn filter(numbers: Receiver<u64>, prime: u64) -> Receiver<u64> {
    let (sender, rest) = bounded(0);
    spawn(move || {
        let mut rest = numbers.iter().filter(|number| number % prime != 0);
        rest.try_for_each(|number| sender.send(number))
    });
    rest
}

fn main() {
    let options = Options::parse();
    let start = Instant::now();
    let mut numbers = numbers();
    for _ in 0..options.primes {
        // What comes through all filters so far has no smaller divisor.
        let Ok(prime) = numbers.recv() else { return };
        println!("{prime}");
        numbers = filter(numbers, prime);
    }
    eprintln!("{} primes in {:.1?}", options.primes, start.elapsed());
}

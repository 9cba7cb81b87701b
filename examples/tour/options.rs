//! The command line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Parser, ValueEnum};
use rust_routines::{Runtime, drivers};

/// Shows what Rust Routines can do, checks the results, and says what it took.
#[derive(Debug, Parser)]
#[command(name = "tour")]
pub(crate) struct Options {
    /// Routines that wait on a channel, all at once
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) routines: u64,

    /// TCP connections on loopback, all at once
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connections: u64,

    /// Requests on each connection
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: u64,

    /// Timers, of 1 to 1000 ms
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timers: u64,

    /// The tree whose files are read, without `target`, `.git` and symbolic links [default: this repository]
    #[arg(long, value_name = "DIR", value_parser = directory)]
    dir: Option<PathBuf>,

    /// Routines that read files at the same time
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) readers: u64,

    /// Files to list in the digest table, the largest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", env = "RUST_ROUTINES_WORKERS",
          value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,

    /// The I/O driver [default: the first]
    #[arg(long, value_name = "NAME", env = "RUST_ROUTINES_IO",
          value_parser = PossibleValuesParser::new(drivers::io_names()))]
    io: Option<String>,

    /// The timer [default: the first]
    #[arg(long, value_name = "NAME", env = "RUST_ROUTINES_TIMER",
          value_parser = PossibleValuesParser::new(drivers::timer_names()))]
    timer: Option<String>,

    /// Only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,

    /// All but these parts
    #[arg(long, value_name = "PART", value_delimiter = ',', conflicts_with = "only")]
    skip: Vec<Part>,
}

/// A stop of the tour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Many routines wait on a channel, and are woken
    Routines,
    /// A word count in four stages
    Pipeline,
    /// Files are read, counted and hashed
    Files,
    /// Many connections are open, and all are used
    Connections,
    /// Many routines sleep, and tell how late they woke
    Timers,
}

impl Options {
    /// The parts to run, in their order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        Part::value_variants().iter().copied().filter(|part| {
            (self.only.is_empty() || self.only.contains(part)) && !self.skip.contains(part)
        })
    }

    /// The tree whose files are read.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// A runtime with the workers and drivers that were asked for.
    pub(crate) fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = Runtime::builder().name("tour");
        if let Some(workers) = self.workers {
            builder = builder.workers(workers.into());
        }
        if let Some(name) = &self.io {
            builder = builder.io_named(name)?;
        }
        if let Some(name) = &self.timer {
            builder = builder.timer_named(name)?;
        }
        builder.build()
    }
}

fn directory(argument: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(argument);
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err("not a directory".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no part is hidden");
        f.pad(value.get_name())
    }
}

//! A pipeline with fan-out and fan-in, from Go's article of that name: find files, digest them in several routines at
//! a time, and gather the results. The first error, or a timeout, stops all stages early.
//!
//! `cargo run --release --example pipeline -- --directory src --digesters 4`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use rust_routines::channel::{Receiver, Sender, after, bounded, select};
use rust_routines::sync::CancellationToken;
use rust_routines::{fs, group};
use sha2::{Digest, Sha256};

#[derive(Debug, Parser)]
#[command(about = "Prints the SHA-256 of each file below a directory")]
struct Options {
    /// Where to look
    #[arg(long, default_value = "src")]
    directory: PathBuf,

    /// How many files to digest at a time
    #[arg(long, default_value_t = 4)]
    digesters: usize,

    /// Give up after so many seconds
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// The first stage: sends the files below `directory`.
fn find(
    directory: PathBuf,
    files: &Sender<PathBuf>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut directories = vec![directory];
    while let Some(directory) = directories.pop() {
        let failed = || directory.display().to_string();
        for entry in fs::read_dir(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                select! {
                    send(files, entry.path()) -> sent => if sent.is_err() { return Ok(()) },
                    recv(stop.cancelled()) -> _ => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// The second stage, of which there are several.
fn digest(
    files: &Receiver<PathBuf>,
    digests: &Sender<(PathBuf, String)>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    for file in files {
        if stop.is_cancelled() {
            break;
        }
        let contents = fs::read(&file).with_context(|| file.display().to_string())?;
        let digest = Sha256::digest(&contents).iter().map(|byte| format!("{byte:02x}")).collect();
        if digests.send((file, digest)).is_err() {
            break;
        }
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let late = after(Duration::from_secs(options.timeout));
    let mut table = group(|group| {
        let (files, found) = bounded(16);
        let (digests, results) = bounded(16);
        let stop = group.token();
        group.spawn({
            let (directory, stop) = (options.directory, stop.clone());
            move || find(directory, &files, &stop)
        });
        for _ in 0..options.digesters.max(1) {
            let (found, digests, stop) = (found.clone(), digests.clone(), stop.clone());
            group.spawn(move || digest(&found, &digests, &stop));
        }
        // The stages hold what they need: the results end when the last digester does.
        drop((found, digests));
        let mut table = Vec::new();
        loop {
            select! {
                recv(results) -> result => match result {
                    Ok(row) => table.push(row),
                    Err(_) => return Ok(table),
                },
                recv(late) -> _ => bail!("not done after {} seconds", options.timeout),
            }
        }
    })?;
    table.sort();
    table.iter().for_each(|(file, digest)| println!("{digest}  {}", file.display()));
    Ok(())
}

//! Runs several commands at once and shows whose line is whose. Ctrl-c, or a request to end, stops them all, with what
//! they have started: signals are messages, so `select!` waits for them beside the output.
//!
//! `cargo run --release --example side_by_side -- "ping -c 3 localhost" "vmstat 1 3"`

use std::io::{self, BufRead, BufReader, Write};

use anyhow::Context;
use clap::Parser;
use rust_routines::channel::{bounded, oneshot, select};
use rust_routines::io::stdout;
use rust_routines::os::fd::Watched;
use rust_routines::process::{Child, Command, Stdio};
use rust_routines::signal::{self, Signal};
use rust_routines::spawn;
use rustix::process::{Pid, kill_process_group};

#[derive(Debug, Parser)]
#[command(about = "Runs commands side by side")]
struct Options {
    /// What to run, each in a shell
    #[arg(required = true)]
    commands: Vec<String>,
}

/// Kills a command that nobody has waited for yet: the shell, and whatever is in the process group that it was given.
fn kill(child: &Child) -> io::Result<()> {
    let group = Pid::from_raw(child.id().cast_signed()).expect("no process has the number zero");
    Ok(kill_process_group(group, rustix::process::Signal::KILL)?)
}

fn stop_all(signal: Signal, children: &[Child]) -> anyhow::Result<()> {
    writeln!(stdout(), "stopping after {signal}")?;
    Ok(children.iter().try_for_each(kill)?)
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let stop = signal::receiver(&[Signal::INT, Signal::TERM])?;
    let (lines, next_line) = bounded(0);
    let mut children: Vec<Child> = Vec::new();
    for (command, number) in options.commands.iter().zip(1..) {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {command}"))?;
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let lines = lines.clone();
        spawn(move || output.lines().try_for_each(|line| lines.send((number, line))));
        children.push(child);
    }
    drop(lines);

    loop {
        select! {
            recv(next_line) -> line => match line {
                Ok((number, line)) => writeln!(stdout(), "{number}: {}", line?)?,
                // All of them have closed their output.
                Err(_) => break,
            },
            recv(stop) -> signal => {
                stop_all(signal?, &children)?;
                break;
            }
        }
    }
    // Who has closed its output may run on.
    for number in 1..=children.len() {
        let running = &mut children[number - 1..];
        // A descriptor of the process: it does not wait for it, so that its number is its own until we do.
        let process = Watched::new(running[0].pidfd()?);
        let (ended, end) = oneshot::channel();
        spawn(move || ended.send(process.wait_readable()));
        select! {
            recv(end) -> ended => ended??,
            recv(stop) -> signal => stop_all(signal?, running)?,
        }
        writeln!(stdout(), "{number}: {}", running[0].wait()?)?;
    }
    Ok(())
}

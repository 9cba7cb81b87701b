//! Reads the files of a tree with a bounded number of routines, and makes a table of what is in them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use comfy_table::{Cell, Table};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use rust_routines::channel::{Receiver, bounded, unbounded};
use rust_routines::fs::File;
use rust_routines::spawn;
use sha2::{Digest, Sha256};

use crate::options::Options;
use crate::report::{Memory, Report, counted, number, rate, table};
use crate::walk::walk;

/// How much to read at a time.
const CHUNK: usize = 64 * 1024;

/// Digits of a digest to show: enough to compare with what `sha256sum` says.
const DIGITS: usize = 16;

/// What a file holds.
#[derive(Debug)]
struct Content {
    path: PathBuf,
    bytes: u64,
    lines: u64,
    sha256: [u8; 32],
}

pub(crate) fn run(options: &Options, progress: &ProgressBar) -> Result<Report> {
    let start = Instant::now();
    let (paths, path_queue) = bounded(options.readers as usize);
    let (contents, content_queue) = unbounded();
    let root = options.dir().to_owned();
    let walker = spawn(move || walk(&root, &paths));
    for _ in 0..options.readers {
        let (paths, contents) = (path_queue.clone(), contents.clone());
        spawn(move || digest_all(&paths, |content| contents.send(content).is_ok()));
    }
    drop((path_queue, contents));

    let mut files = Vec::new();
    for content in content_queue {
        progress.inc_length(1);
        files.push(content?);
        progress.inc(1);
    }
    let directories = walker.join().map_err(|_| anyhow!("the walk panicked"))??;
    let elapsed = start.elapsed();
    let memory = Memory::now()?;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    ensure!(files.is_sorted_by(|a, b| a.path < b.path), "a file was read twice");

    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let lines: u64 = files.iter().map(|file| file.lines).sum();
    let count = files.len() as u64;
    Ok(Report {
        what: format!(
            "{} in {} read, counted and hashed",
            counted(count, "file"),
            if directories == 1 {
                "1 directory".to_owned()
            } else {
                format!("{} directories", HumanCount(directories))
            }
        ),
        figures: vec![
            format!("{}, {}", HumanBytes(bytes), counted(lines, "line")),
            format!("{} files per second, up to {} at once", rate(count, elapsed), options.readers),
        ],
        memory,
        digest: Some(listing(options.dir(), files, options.top)),
    })
}

/// Reads files until there are no more, or nobody wants their contents.
fn digest_all(paths: &Receiver<PathBuf>, mut deliver: impl FnMut(Result<Content>) -> bool) {
    let mut buffer = vec![0; CHUNK];
    for path in paths {
        let content = digest(&path, &mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))
            .and_then(|(content, expected)| {
                ensure!(
                    content.bytes == expected,
                    "{} has {expected} bytes, but {} were read",
                    path.display(),
                    content.bytes
                );
                Ok(content)
            });
        if !deliver(content) {
            break;
        }
    }
}

/// Reads a file. Also returns the size that the system gives for it.
fn digest(path: &Path, buffer: &mut [u8]) -> io::Result<(Content, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let (mut bytes, mut lines) = (0, 0);
    loop {
        let chunk = match file.read(buffer)? {
            0 => break,
            length => &buffer[..length],
        };
        hasher.update(chunk);
        bytes += chunk.len() as u64;
        lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    let expected = file.metadata()?.len();
    let sha256 = hasher.finalize().into();
    Ok((Content { path: path.to_owned(), bytes, lines, sha256 }, expected))
}

/// The largest files, and all of them together.
fn listing(root: &Path, mut files: Vec<Content>, top: usize) -> Table {
    let mut together = Sha256::new();
    files.iter().for_each(|file| together.update(file.sha256));
    let sum = |of: fn(&Content) -> u64| files.iter().map(of).sum();
    let (bytes, lines) = (sum(|file| file.bytes), sum(|file| file.lines));

    files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let title = format!("Largest files of {}", root.display());
    let mut table = table(&[&title, "Size", "Lines", "SHA-256"]);
    for file in files.iter().take(top) {
        let path = file.path.strip_prefix(root).unwrap_or(&file.path);
        table.add_row(row(&path.display().to_string(), file.bytes, file.lines, &file.sha256));
    }
    let all =
        format!("All {}, digests in order of their paths", counted(files.len() as u64, "file"));
    table.add_row(row(&all, bytes, lines, &together.finalize()));
    table
}

fn row(name: &str, bytes: u64, lines: u64, sha256: &[u8]) -> [Cell; 4] {
    let mut digits: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.truncate(DIGITS);
    [
        Cell::new(name),
        number(HumanBytes(bytes)),
        number(HumanCount(lines)),
        Cell::new(format!("{digits}…")),
    ]
}

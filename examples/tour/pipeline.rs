//! A word count in stages that are joined by channels, as one would write it in Go:
//!
//! ```text
//!  walk ──paths──▶ read ──texts──▶ split ──words──▶ count ──totals──▶ (here)
//!    1              ×8              ×4               ×4
//! ```
//!
//! Each word is a message, and goes to the counter that its hash names. Every channel is bounded, so a stage that
//! is ahead waits for the next; each ends when the one before it has.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{HumanCount, ProgressBar};
use rust_routines::channel::{Receiver, Sender, bounded};
use rust_routines::{fs, spawn};

use crate::options::Options;
use crate::report::{Memory, Report, counted, rate};
use crate::walk::walk;

const READERS: usize = 8;
const SPLITTERS: usize = 4;
const COUNTERS: usize = 4;

/// Messages that a channel holds.
const CAPACITY: usize = 128;

/// The most frequent words to name.
const NAMED: usize = 5;

/// Words that passed some point: how many, and a sum that tells their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    words: u64,
    checksum: u64,
}

impl Flow {
    fn add(&mut self, hash: u64, times: u64) {
        self.words += times;
        self.checksum = self.checksum.wrapping_add(hash.wrapping_mul(times));
    }
}

pub(crate) fn run(options: &Options, progress: &ProgressBar) -> Result<Report> {
    let start = Instant::now();
    let hasher = RandomState::new();
    let (paths, path_queue) = bounded(CAPACITY);
    let (texts, text_queue) = bounded(CAPACITY);
    let (totals, total_queue) = bounded(COUNTERS);
    let (words, word_queues): (Vec<_>, Vec<_>) = (0..COUNTERS).map(|_| bounded(CAPACITY)).unzip();

    let root = options.dir().to_owned();
    let walker = spawn(move || walk(&root, &paths));
    let readers = spawn_many(READERS, || {
        let (paths, texts, progress) = (path_queue.clone(), texts.clone(), progress.clone());
        move || read(&paths, &texts, &progress)
    });
    let splitters = spawn_many(SPLITTERS, || {
        let (texts, words, hasher) = (text_queue.clone(), words.clone(), hasher.clone());
        move || split(&texts, &words, &hasher)
    });
    for words in word_queues {
        let totals = totals.clone();
        spawn(move || totals.send(count(&words)));
    }
    // The stages hold what they use: a channel ends when the last of them has let go of it.
    drop((path_queue, texts, text_queue, words, totals));

    let total: HashMap<_, _> = total_queue.iter().flatten().collect();
    let elapsed = start.elapsed();
    let memory = Memory::now()?;
    joined(walker)??;
    let mut texts = 0;
    for reader in readers {
        texts += joined(reader)??;
    }
    let mut sent = Flow::default();
    for splitter in splitters {
        let flow = joined(splitter)?;
        sent.words += flow.words;
        sent.checksum = sent.checksum.wrapping_add(flow.checksum);
    }
    let mut received = Flow::default();
    total.iter().for_each(|(word, times)| received.add(hasher.hash_one(word), *times));
    ensure!(sent == received, "{} words were sent, {} were counted", sent.words, received.words);
    Ok(Report {
        what: format!("{} in {} counted", counted(sent.words, "word"), counted(texts, "text file")),
        figures: vec![
            format!(
                "4 stages, {} routines; {} words per second, a message each",
                1 + READERS + SPLITTERS + COUNTERS,
                rate(sent.words, elapsed)
            ),
            format!("{} different; most often {}", HumanCount(total.len() as u64), leaders(&total)),
        ],
        memory,
        digest: None,
    })
}

fn spawn_many<F, T>(count: usize, make: impl Fn() -> F) -> Vec<rust_routines::JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    (0..count).map(|_| spawn(make())).collect()
}

fn joined<T>(handle: rust_routines::JoinHandle<T>) -> Result<T> {
    handle.join().map_err(|_| anyhow!("a stage panicked"))
}

/// Second stage: reads what is text. Returns how many files that were.
fn read(paths: &Receiver<PathBuf>, texts: &Sender<String>, progress: &ProgressBar) -> Result<u64> {
    let mut count = 0;
    for path in paths {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        progress.inc_length(1);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if texts.send(text).is_err() {
            break;
        }
        count += 1;
        progress.inc(1);
    }
    Ok(count)
}

/// Third stage: sends each word to its counter. Returns what it has sent.
fn split(texts: &Receiver<String>, counters: &[Sender<Box<str>>], hasher: &RandomState) -> Flow {
    let mut sent = Flow::default();
    for text in texts {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| !word.is_empty()) {
            let hash = hasher.hash_one(word);
            // Counters end only after their senders have.
            counters[hash as usize % counters.len()].send(word.into()).expect("the counter runs");
            sent.add(hash, 1);
        }
    }
    sent
}

/// Fourth stage: counts its share of the words.
fn count(words: &Receiver<Box<str>>) -> HashMap<Box<str>, u64> {
    let mut counts = HashMap::new();
    for word in words {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

/// The most frequent words.
fn leaders(counts: &HashMap<Box<str>, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().map(|(word, times)| (*times, word)).collect();
    counts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let named = counts.iter().take(NAMED);
    let named: Vec<_> =
        named.map(|(times, word)| format!("{word} ({})", HumanCount(*times))).collect();
    named.join(", ")
}

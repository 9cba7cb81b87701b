//! Finds the files of a tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rust_routines::channel::Sender;
use rust_routines::fs;

/// Directories that hold what was built, or what was written before: not the sources.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Sends the regular files below `root`, and returns how many directories there are. Symbolic links are not
/// followed. Ends early, without an error, when nobody receives any more.
pub(crate) fn walk(root: &Path, files: &Sender<PathBuf>) -> Result<u64> {
    let mut directories = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        directories += 1;
        let unreadable = || format!("cannot read {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let kind = entry.file_type().with_context(unreadable)?;
            if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                pending.push(entry.path());
            } else if kind.is_file() && files.send(entry.path()).is_err() {
                return Ok(directories);
            }
        }
    }
    Ok(directories)
}

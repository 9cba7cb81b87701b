//! Reads of a file that the kernel has cached, for contestants whose API is that of `std`: the module around says whose
//! `spawn` and `File` these are.

use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::{File, spawn};
use crate::workload::{BLOCK, READERS, block_of, cached_file, first_byte};

/// The file, which is made before anything is measured.
#[allow(clippy::useless_conversion, reason = "`File` may be std's")]
pub(super) fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| cached_file().into())
}

pub(super) fn files(turns: u64) {
    let file = file();
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            spawn(move || {
                let mut buffer = [0; BLOCK];
                for turn in 0..turns / READERS {
                    let block = block_of(reader, turn);
                    let offset = block * BLOCK as u64;
                    file.read_exact_at(&mut buffer, offset).expect("the file is that long");
                    assert_eq!(buffer[0], first_byte(block));
                }
            })
        })
        .collect();
    for reader in readers {
        reader.join().expect("no reader panics");
    }
}

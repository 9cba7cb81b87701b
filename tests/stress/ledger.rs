//! What has become of each message: the oracle of the stress test.
//!
//! Every message has an entry, in which its sender writes how the send went, its receiver that it came, and its
//! destructor that it is gone. Afterwards all entries must make sense ([`Ledger::audit`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The message is on its way, or went with its sender, which was unwound.
const UNDER_WAY: u8 = 0;
const SENT: u8 = 1;
/// The send failed and gave it back.
const RETURNED: u8 = 2;

/// See the header of the file.
pub(crate) struct Ledger {
    entries: Box<[Entry]>,
    made: AtomicUsize,
    /// Operations of all kinds, for the record.
    pub(crate) operations: AtomicUsize,
}

#[derive(Default)]
struct Entry {
    channel: AtomicU8,
    fate: AtomicU8,
    received: AtomicU8,
    dropped: AtomicU8,
}

/// Something to send.
pub(crate) struct Message {
    pub(crate) id: usize,
    pub(crate) channel: usize,
    pub(crate) sender: usize,
    /// The how manieth that its sender made for the channel.
    pub(crate) number: u32,
    /// Says whether it came in one piece.
    complement: usize,
    ledger: Arc<Ledger>,
}

impl Drop for Message {
    fn drop(&mut self) {
        assert_eq!(self.complement, !self.id, "a torn message");
        let before = self.ledger.entries[self.id].dropped.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "message {} was dropped twice", self.id);
    }
}

/// What the audit of a channel has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) sent: usize,
    pub(crate) received: usize,
}

impl Ledger {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let entries = (0..most).map(|_| Entry::default()).collect();
        Arc::new(Self { entries, made: AtomicUsize::new(0), operations: AtomicUsize::new(0) })
    }

    pub(crate) fn message(self: &Arc<Self>, channel: usize, sender: usize, number: u32) -> Message {
        let id = self.made.fetch_add(1, Ordering::SeqCst);
        self.entries[id].channel.store(u8::try_from(channel).unwrap(), Ordering::SeqCst);
        Message { id, channel, sender, number, complement: !id, ledger: self.clone() }
    }

    pub(crate) fn sent(&self, id: usize) {
        self.decide(id, SENT);
    }

    pub(crate) fn returned(&self, id: usize) {
        self.decide(id, RETURNED);
    }

    fn decide(&self, id: usize, fate: u8) {
        let before = self.entries[id].fate.swap(fate, Ordering::SeqCst);
        assert_eq!(before, UNDER_WAY, "the send of message {id} ended twice");
    }

    pub(crate) fn received(&self, message: &Message) {
        let before = self.entries[message.id].received.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "message {} was received twice", message.id);
    }

    /// Once nobody sends or receives any more and all channels are gone: checks each message, and counts by
    /// channel.
    pub(crate) fn audit(&self, channels: usize) -> Vec<Count> {
        let mut counts = vec![Count::default(); channels];
        for (id, entry) in self.entries[..self.made.load(Ordering::SeqCst)].iter().enumerate() {
            let [channel, fate, received, dropped] =
                [&entry.channel, &entry.fate, &entry.received, &entry.dropped]
                    .map(|field| field.load(Ordering::SeqCst));
            assert_eq!(dropped, 1, "drops of message {id}, fate {fate}, received {received}");
            assert!(
                received == 0 || fate == SENT,
                "message {id} came, though its send did not end so"
            );
            let count = &mut counts[usize::from(channel)];
            count.sent += usize::from(fate == SENT);
            count.received += usize::from(received);
        }
        counts
    }
}

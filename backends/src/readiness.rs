//! From edges to completions: which operations wait for which descriptor of one driver, and what is
//! known about its readiness.
//!
//! Part of the [reactor](crate::reactor), whose selector reports events and registers descriptors;
//! everything else is here. One thread owns all of it.
//!
//! # What is known
//!
//! A source is registered once per driver, edge-triggered, for everything at once. It stays so until
//! its file is closed, which the driver is not told and need not be. Per direction there is a queue of
//! *plain* operations ([`OpRef::is_plain`]) and a flag: unless it is set, the kernel would refuse them
//! all, so [`Sources::park`] queues an operation without asking. A keep-alive connection is thus read
//! once per request: a short read clears the flag, the next read waits for the event.
//!
//! All other operations (`connect`, `poll`, transfers with flags) have conditions of their own. They
//! are always tried, wait in a third queue, and are all tried again at every event of the source. But
//! a `poll` is finished by the event that covers it: the collection has asked what the `poll` would
//! ask, and some files tell of a change only once (mount tables, perf events).
//!
//! Events name the registration that they are of, by its [key](crate::key), and not only a descriptor.
//!
//! # Why no operation waits for an event that does not come
//!
//! Let *collection* be the moment at which the selector evaluates the state of the source for an
//! event, and let the kernel's promise be: every change towards readiness after a collection makes
//! another one (epoll puts the source on its list at each wake-up of it, and evaluates its state when it
//! is collected, not when it was put there).
//!
//! 1. *Registration* evaluates the state too. What became ready between the refusal and the
//!    registration is reported by the next `wait`. The direction that was not asked yet counts as ready.
//! 2. *`EAGAIN` clears the flag.* It is the state at that moment, after every collection so far. A later
//!    change makes an event. So does a change before it that was not collected yet: one needless try.
//! 3. *A short transfer clears the flag*, but only on a [`Stream`](SourceKind::Stream), and only while
//!    [`Slot::short_means_drained`]. What the count does not tell of is what comes after the last
//!    byte: end of file, an error, urgent data at whose mark the kernel stops reading. If it came
//!    after the last collection there will be another. If it came before, that event showed it
//!    (`RDHUP`, `HUP`, `ERR`, `PRI`), and from then on short counts tell nothing: reads go on to
//!    `EAGAIN`, or to the end of the file, which is zero bytes and never counts as short. This is what
//!    a sticky "closed" flag is for elsewhere; it is not needed here, since a refusal is believed at
//!    any time and nothing else is. A selector that cannot tell calls every event special.
//! 4. *Writing.* The kernel reports space only to somebody it has refused or cut short, which is when the
//!    flag is cleared.
//! 5. *An event sets the flag, and then its queue is worked off* until it is empty or the flag is cleared.
//!    So an operation in the queue means that the flag is clear: nobody waits behind one that took only
//!    a part.
//! 6. *Others use the same file*: another worker's driver, a thread, a duplicate of the descriptor. What
//!    they take shows as `EAGAIN` here (2), what arrives reaches every selector.
//! 7. *The number was reused.* The table remembers the [`Source::id`]; another id means another
//!    registration, evaluated as in (1). Events of the old one that still arrive (its file lives on
//!    through a duplicate) have its key, and are passed over. If the selector has the descriptor
//!    already, it is the same file under two ids, and the registration is set anew under the new key.
//!    That evaluates the state like a first one, so all of it is told again, the end of a stream
//!    included, to the newcomer as well as to what is queued.
//! 8. *A connection being made.* A socket that was never connected reports `HUP`, and that may be told
//!    while it is connecting. It is no result: `connect` is called again, and answers `EALREADY` for as
//!    long as it takes.
//! 9. *A state that is told once.* Whoever evaluates it takes it. A `poll` that waits is told by the
//!    collection, and nobody asks in between but other operations on the same file, who then have it.
//!    What this leaves is a change between the refusal of the first `poll` on a source and its
//!    registration, which the latter takes: a selector offers no way to do both at once.

use std::io;
use std::os::fd::RawFd;

use rust_routines_core::driver::{
    Action, Attempt, Completions, Interest, OpQueue, OpRef, Source, Submitted,
};

use crate::key;

/// What an event says: what `poll(2)` would for each [`Interest`], errors and hang-ups included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    /// Something can be read, or is urgent.
    pub(crate) read: bool,
    /// Something can be written.
    pub(crate) write: bool,
    /// Something is urgent.
    pub(crate) priority: bool,
    /// There is more than data: a hang-up in either direction, an error, urgent data.
    pub(crate) special: bool,
}

impl Readiness {
    fn covers(&self, interest: Interest) -> bool {
        match interest {
            Interest::Read => self.read,
            Interest::Write => self.write,
            Interest::Priority => self.priority,
        }
    }
}

/// The sources of one driver. See the [module docs](self).
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Indexed by descriptor. The kernel gives out the lowest free number, so this is as dense as the
    /// process's descriptors; a slot is one cache line.
    slots: Vec<Slot>,
}

/// What is known about one descriptor.
#[derive(Debug, Default)]
struct Slot {
    /// The [`Source::id`] it is registered under; zero, which no source has, if it is not.
    id: u64,
    read: OpQueue,
    write: OpQueue,
    /// Operations that are not plain.
    other: OpQueue,
    read_ready: bool,
    write_ready: bool,
    short_means_drained: bool,
}

impl Sources {
    /// Queues `op` if its source is known not to be ready. Otherwise it is to be tried.
    pub(crate) fn park(&mut self, op: OpRef) -> bool {
        let Some((source, interest)) = op.action().readiness() else { return false };
        let Some(slot) = self.registered(source) else { return false };
        if *slot.ready(interest) || !op.is_plain() {
            return false;
        }
        slot.queue(op, interest).push_back(op);
        true
    }

    /// Queues `op`, which was tried and refused for want of readiness. `register` makes the selector
    /// report the descriptor from now on, its present state included, under the given key.
    pub(crate) fn wait_for(
        &mut self,
        op: OpRef,
        source: Source,
        interest: Interest,
        register: impl FnOnce(RawFd, usize) -> io::Result<()>,
    ) -> Submitted {
        let index = source.fd as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        if slot.id != source.id {
            // An error leaves the slot as it was; nothing depends on a registration that failed.
            if let Err(error) = register(source.fd, key::of(source.fd, source.id)) {
                return Submitted::Done(Err(error));
            }
            slot.id = source.id;
            slot.read_ready = true;
            slot.write_ready = true;
            slot.short_means_drained = true;
        }
        if op.is_plain() {
            *slot.ready(interest) = false;
        }
        slot.queue(op, interest).push_back(op);
        Submitted::Pending
    }

    /// Learns from an operation that was done at once.
    pub(crate) fn learn(&mut self, action: &Action, result: &io::Result<usize>) {
        if let Some((source, interest)) = action.readiness()
            && let Some(slot) = self.registered(source)
        {
            slot.learn(action, interest, result);
        }
    }

    /// Takes a waiting operation out of its queue. `false` if it is in none.
    pub(crate) fn remove(&mut self, op: OpRef) -> bool {
        let Some((source, interest)) = op.action().readiness() else { return false };
        match self.slots.get_mut(source.fd as usize) {
            Some(slot) => slot.queue(op, interest).remove(op),
            None => false,
        }
    }

    /// An event of the registration with this key: tries what waits for it and hands back what is
    /// finished.
    pub(crate) fn event(&mut self, key: usize, readiness: Readiness, done: &mut Completions) {
        let fd = key::fd(key);
        let slot = self.slots.get_mut(fd as usize).filter(|slot| key::of(fd, slot.id) == key);
        let Some(slot) = slot else { return };
        if readiness.special {
            slot.short_means_drained = false;
        }
        if readiness.read {
            slot.read_ready = true;
            slot.work_off(Interest::Read, done);
        }
        if readiness.write {
            slot.write_ready = true;
            slot.work_off(Interest::Write, done);
        }
        if !slot.other.is_empty() {
            slot.try_others(readiness, done);
        }
    }

    fn registered(&mut self, source: Source) -> Option<&mut Slot> {
        self.slots.get_mut(source.fd as usize).filter(|slot| slot.id == source.id)
    }
}

impl Slot {
    fn ready(&mut self, interest: Interest) -> &mut bool {
        match interest {
            Interest::Read | Interest::Priority => &mut self.read_ready,
            Interest::Write => &mut self.write_ready,
        }
    }

    /// Where `op` waits.
    fn queue(&mut self, op: OpRef, interest: Interest) -> &mut OpQueue {
        match interest {
            _ if !op.is_plain() => &mut self.other,
            Interest::Read | Interest::Priority => &mut self.read,
            Interest::Write => &mut self.write,
        }
    }

    fn learn(&mut self, action: &Action, interest: Interest, result: &io::Result<usize>) {
        if self.short_means_drained
            && let Some(full) = action.drains_at()
            && let Ok(count) = *result
            && (1..full).contains(&count)
        {
            *self.ready(interest) = false;
        }
    }

    fn work_off(&mut self, interest: Interest, done: &mut Completions) {
        while *self.ready(interest) {
            let queue = match interest {
                Interest::Read | Interest::Priority => &mut self.read,
                Interest::Write => &mut self.write,
            };
            let Some(op) = queue.front() else { return };
            match op.attempt() {
                Attempt::Done(result) => {
                    queue.pop_front();
                    self.learn(&op.action(), interest, &result);
                    done.push(op, result);
                }
                Attempt::NotReady(..) | Attempt::Blocks => *self.ready(interest) = false,
            }
        }
    }

    fn try_others(&mut self, readiness: Readiness, done: &mut Completions) {
        let mut rest = std::mem::take(&mut self.other);
        while let Some(op) = rest.pop_front() {
            let result = match op.action() {
                // Asked again, some files would have nothing more to tell.
                Action::Poll { interest, .. } => readiness.covers(interest).then_some(Ok(0)),
                _ => match op.attempt() {
                    Attempt::Done(result) => Some(result),
                    Attempt::NotReady(..) | Attempt::Blocks => None,
                },
            };
            match result {
                Some(result) => done.push(op, result),
                None => self.other.push_back(op),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use rust_routines_core::driver::{Operation, SourceKind};

    use super::*;

    const EVERYTHING: Readiness =
        Readiness { read: true, write: true, priority: false, special: false };

    /// A registered source whose read was refused and then served by an event, 4 bytes of 8.
    fn served(kind: SourceKind, special: bool) -> (Sources, Source, [UnixStream; 2]) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let source = Source::new(near.as_raw_fd(), kind);
        let mut sources = Sources::default();
        let mut done = Completions::new();
        let mut buf = [0; 8];
        let read = read(source, &mut buf);
        // SAFETY: it is back before this returns.
        let op = unsafe { read.as_ref() };
        assert!(!sources.park(op), "nothing is known yet");
        assert!(matches!(op.attempt(), Attempt::NotReady(..)));
        let pending = sources.wait_for(op, source, Interest::Read, |_, _| Ok(()));
        assert!(matches!(pending, Submitted::Pending));
        io::Write::write_all(&mut &far, b"data").unwrap();
        let key = key::of(source.fd, source.id);
        sources.event(key, Readiness { special, ..EVERYTHING }, &mut done);
        assert!(matches!(done.drain().next(), Some((back, Ok(4))) if back == op));
        (sources, source, [near, far])
    }

    fn read(source: Source, buf: &mut [u8; 8]) -> Operation {
        // SAFETY: the callers keep the buffer and the descriptor for as long as the operation.
        unsafe { Operation::new(Action::Read { source, buf: buf.as_mut_ptr(), len: buf.len() }) }
    }

    fn parks(sources: &mut Sources, source: Source) -> bool {
        let mut buf = [0; 8];
        let read = read(source, &mut buf);
        // SAFETY: taken out of the queue below.
        let op = unsafe { read.as_ref() };
        let parked = sources.park(op);
        assert_eq!(sources.remove(op), parked);
        parked
    }

    /// Fails if a keep-alive server pays for a refused read per request.
    #[test]
    fn a_drained_stream_is_not_asked_again() {
        let (mut sources, source, _ends) = served(SourceKind::Stream, false);
        assert!(parks(&mut sources, source));
    }

    /// Fails if the end of the file is overlooked that came with the last data.
    #[test]
    fn a_short_count_tells_nothing_at_the_end() {
        let (mut sources, source, _ends) = served(SourceKind::Stream, true);
        assert!(!parks(&mut sources, source));
    }

    /// Fails if packets, lines or passed descriptors get stuck behind a short read.
    #[test]
    fn a_short_count_tells_nothing_about_other_kinds() {
        let (mut sources, source, _ends) = served(SourceKind::Pollable, false);
        assert!(!parks(&mut sources, source));
    }

    /// Fails if what is known of a file is believed of the next one with its number.
    #[test]
    fn another_id_is_another_file() {
        let (mut sources, source, _ends) = served(SourceKind::Stream, false);
        assert!(!parks(&mut sources, Source::new(source.fd, source.kind)));
    }
}

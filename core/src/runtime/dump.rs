//! What the routines of a runtime do, for somebody who looks for one that hangs.
//!
//! A worker alone knows what is suspended on it. So who wants to know leaves a question, raises the number of questions
//! asked, at which workers look whenever they look around, and wakes them all. Each answers through the question's channel.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::shared::{Phase, Shared};
use crate::channel::{Sender, unbounded};
use crate::park::WaitReason;
use crate::routine::RoutineId;

/// A routine, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutineState {
    /// Its number.
    pub id: RoutineId,
    /// Its name.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for, or was woken from without having had its turn; [`WaitReason::None`] if it is ready, runs, or
    /// has not started.
    pub reason: WaitReason,
}

/// What the routines of a runtime did at a moment. Made by [`Handle::dump`](crate::Handle::dump).
///
/// It displays as a list of how many, spawned where, do what, the most numerous first.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dump {
    /// Those that had started, in no order.
    pub routines: Vec<RoutineState>,
    /// Workers that did not answer in time, by their numbers. Of theirs there is only the one that they ran.
    pub silent: Vec<usize>,
}

/// Who asks the workers, and how often somebody has.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    asked: AtomicU64,
    open: Mutex<Vec<Question>>,
}

#[derive(Debug)]
struct Question {
    number: u64,
    answers: Sender<Answer>,
}

/// The number of a worker, and what is suspended on it.
pub(crate) type Answer = (usize, Vec<RoutineState>);

/// Withdraws a question, also if who asked is unwound.
struct Asked<'a> {
    questions: &'a Questions,
    number: u64,
}

impl Questions {
    fn ask(&self, answers: Sender<Answer>) -> Asked<'_> {
        let mut open = self.open.lock();
        let number = self.asked() + 1;
        open.push(Question { number, answers });
        self.asked.store(number, Ordering::Relaxed);
        drop(open);
        Asked { questions: self, number }
    }

    /// How often somebody has asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Who has asked since there were `known` questions.
    pub(crate) fn since(&self, known: &Cell<u64>) -> Vec<Sender<Answer>> {
        // Under the lock, so that each is answered once.
        let open = self.open.lock();
        let known = known.replace(self.asked());
        let new = open.iter().filter(|question| question.number > known);
        new.map(|question| question.answers.clone()).collect()
    }

    /// Has nobody wait for an answer any more.
    pub(crate) fn withdraw_all(&self) {
        let withdrawn = mem::take(&mut *self.open.lock());
        drop(withdrawn);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().retain(|question| question.number != self.number);
    }
}

impl Shared {
    pub(crate) fn dump(&self, timeout: Duration) -> Dump {
        let deadline = Instant::now().checked_add(timeout);
        let mut dump = Dump::default();
        let (sender, answers) = unbounded();
        let asked = self.questions.ask(sender);
        // If it stops from here on, the last worker withdraws the question.
        if self.phase() == Phase::Stopped {
            return dump;
        }
        self.poke_all();
        dump.silent = self.started_workers();
        while !dump.silent.is_empty() {
            let answer = match deadline {
                Some(deadline) => answers.recv_deadline(deadline).ok(),
                None => answers.recv().ok(),
            };
            let Some((worker, mut routines)) = answer else { break };
            dump.silent.retain(|&silent| silent != worker);
            dump.routines.append(&mut routines);
        }
        drop(asked);
        for &worker in &dump.silent {
            let running = &self.remotes[worker].running;
            if let Some(spawned_at) = running.spawned_at() {
                let (id, name) = (RoutineId(running.id()), running.name());
                let reason = WaitReason::None;
                dump.routines.push(RoutineState { id, name, spawned_at, reason });
            }
        }
        dump
    }

    /// The workers that there are, spare ones included.
    fn started_workers(&self) -> Vec<usize> {
        let unused = self.unused.lock();
        let is_unused = |worker: &usize| unused.iter().any(|(index, _)| index == worker);
        (0..self.remotes.len()).filter(|worker| !is_unused(worker)).collect()
    }
}

impl fmt::Display for RoutineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("<unnamed>");
        write!(
            f,
            "routine '{name}' (id {}), spawned at {}, {}",
            self.id, self.spawned_at, self.reason
        )
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alike = HashMap::<_, u64>::new();
        for RoutineState { name, spawned_at, reason, .. } in &self.routines {
            *alike.entry((name.as_deref(), *spawned_at, reason.as_str())).or_default() += 1;
        }
        let mut alike: Vec<_> = alike.into_iter().collect();
        alike.sort_by(|(one, first), (other, second)| second.cmp(first).then(one.cmp(other)));
        for ((name, spawned_at, does), count) in alike {
            let name = name.unwrap_or("<unnamed>");
            writeln!(f, "{count:>8}  routine '{name}', spawned at {spawned_at}, {does}")?;
        }
        for worker in &self.silent {
            writeln!(f, "worker {worker} has not answered")?;
        }
        Ok(())
    }
}

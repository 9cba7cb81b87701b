//! A stack that runs one routine after another.
//!
//! A fiber is a coroutine in an endless loop: it is handed a routine, runs it, says `Finished` and is
//! handed the next. A routine that never blocks thus costs two switches on a warm stack, and an idle
//! fiber is what the worker's cache of free stacks consists of.
//!
//! A fiber belongs to the worker that made it: it is resumed by that thread alone (`Coroutine` is not
//! `Send`, and neither is this).

use std::ptr::NonNull;

use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::cell::Link;
use crate::park::Request;
use crate::stack::{Extent, Stack};

/// Why control came back to the worker.
#[derive(Debug)]
pub(crate) enum Suspend {
    /// The routine has ended; the fiber is free.
    Finished,
    /// The routine lets others run and is ready itself.
    Yield,
    /// The routine waits. The request lies on its stack and holds until it is resumed.
    Park(NonNull<Request<'static>>),
    /// The routine refuses to be unwound and must never be resumed again.
    Freeze,
}

/// What becomes of a fiber when its routine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It is kept for the next routine.
    Cached,
    /// Its stack was made for the one routine.
    Never,
}

/// What a fiber is resumed with: the routine to start, or nothing. To a suspended routine nothing
/// means "go on", to a free fiber "return".
type Input = Option<Link>;

/// Where a running routine suspends itself.
pub(crate) type Suspender = Yielder<Input, Suspend>;

/// See the [module docs](self).
pub(crate) struct Fiber {
    coroutine: Coroutine<Input, Suspend, (), Stack>,
    extent: Extent,
    pub(crate) reuse: Reuse,
    /// Runs since the unused part of the stack was last given back.
    pub(crate) runs: u32,
}

impl Fiber {
    /// A free fiber on `stack`.
    pub(crate) fn new(stack: Stack, reuse: Reuse) -> Self {
        let extent = stack.extent();
        let coroutine = Coroutine::with_stack(stack, |suspender: &Suspender, mut input: Input| {
            while let Some(routine) = input {
                routine.run(suspender);
                input = suspender.suspend(Suspend::Finished);
            }
        });
        Self { coroutine, extent, reuse, runs: 0 }
    }

    /// Starts `routine`. The fiber must be free.
    pub(crate) fn start(&mut self, routine: Link) -> Suspend {
        self.runs += 1;
        self.switch(Some(routine))
    }

    /// Lets the suspended routine go on.
    pub(crate) fn resume(&mut self) -> Suspend {
        self.switch(None)
    }

    fn switch(&mut self, input: Input) -> Suspend {
        match self.coroutine.resume(input) {
            CoroutineResult::Yield(suspend) => suspend,
            CoroutineResult::Return(()) => unreachable!("a fiber returns only when retired"),
        }
    }

    /// Where the fiber's stack lies.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// Gives the unused depth of a free fiber's stack back to the kernel.
    pub(crate) fn trim(&mut self, keep: usize) {
        self.runs = 0;
        // SAFETY: a free fiber is suspended in its own loop, whose frames lie within the first few
        // hundred bytes below the base; `keep` is pages.
        unsafe { self.extent.trim(keep) };
    }

    /// Ends a free fiber and returns its stack.
    pub(crate) fn retire(mut self) -> Stack {
        let CoroutineResult::Return(()) = self.coroutine.resume(None) else {
            unreachable!("only free fibers are retired")
        };
        self.coroutine.into_stack()
    }
}

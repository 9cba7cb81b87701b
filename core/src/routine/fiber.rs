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
    /// The routine has run for long enough, and would go on.
    EndTurn,
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

/// What passes through a switch: one word each way, which then stays in a register.
mod word {
    use std::ptr::{self, NonNull};

    use super::Suspend;
    use crate::routine::cell::{Header, Link};

    /// What a fiber is resumed with: a routine to start, or nothing. To a suspended routine nothing
    /// means "go on", to a free fiber "return".
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Input(NonNull<Header>);

    impl Input {
        pub(super) const NOTHING: Input = Input(NonNull::dangling());

        pub(super) fn start(routine: Link) -> Self {
            Self(NonNull::new(routine.as_ptr()).unwrap_or(Self::NOTHING.0))
        }

        pub(super) fn routine(self) -> Option<Link> {
            if self.0 == Self::NOTHING.0 {
                return None;
            }
            // SAFETY: made by `start` from the link that its caller gave away.
            unsafe { Link::from_ptr(self.0.as_ptr()) }
        }
    }

    /// A [`Suspend`]: a request, or one of the small numbers that are no addresses.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Output(*mut ());

    // Far apart: where numbers are close together, the compiler jumps through a table, and each such jump
    // costs a switch a tenth.
    const YIELD: usize = 2;
    const FINISHED: usize = 101;
    const FREEZE: usize = 307;
    const END_TURN: usize = 1003;

    impl From<Suspend> for Output {
        fn from(suspend: Suspend) -> Self {
            Self(match suspend {
                Suspend::Finished => ptr::without_provenance_mut(FINISHED),
                Suspend::Yield => ptr::without_provenance_mut(YIELD),
                Suspend::EndTurn => ptr::without_provenance_mut(END_TURN),
                Suspend::Freeze => ptr::without_provenance_mut(FREEZE),
                Suspend::Park(request) => request.as_ptr().cast(),
            })
        }
    }

    impl From<Output> for Suspend {
        fn from(output: Output) -> Self {
            match (output.0.addr(), NonNull::new(output.0.cast())) {
                (YIELD, _) => Suspend::Yield,
                (FINISHED, _) | (_, None) => Suspend::Finished,
                (END_TURN, _) => Suspend::EndTurn,
                (FREEZE, _) => Suspend::Freeze,
                (_, Some(request)) => Suspend::Park(request),
            }
        }
    }
}

use self::word::{Input, Output};

/// Where a running routine suspends itself.
pub(crate) type Suspender = Yielder<Input, Output>;

/// See the [module docs](self).
pub(crate) struct Fiber {
    coroutine: Coroutine<Input, Output, (), Stack>,
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
            while let Some(routine) = input.routine() {
                routine.run(suspender);
                input = suspender.suspend(Suspend::Finished.into());
            }
        });
        Self { coroutine, extent, reuse, runs: 0 }
    }

    /// Starts `routine`. The fiber must be free.
    pub(crate) fn start(&mut self, routine: Link) -> Suspend {
        self.runs += 1;
        self.switch(Input::start(routine))
    }

    /// Lets the suspended routine go on.
    pub(crate) fn resume(&mut self) -> Suspend {
        self.switch(Input::NOTHING)
    }

    fn switch(&mut self, input: Input) -> Suspend {
        match self.coroutine.resume(input) {
            CoroutineResult::Yield(output) => output.into(),
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
        let CoroutineResult::Return(()) = self.coroutine.resume(Input::NOTHING) else {
            unreachable!("only free fibers are retired")
        };
        self.coroutine.into_stack()
    }
}

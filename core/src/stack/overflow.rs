//! Stack overflows of routines: one line that says which routine, and the end of the process.
//!
//! An overflow faults in the stack's guard. The handler for `SIGSEGV` and `SIGBUS` runs on a stack
//! of its own ([`AltStack`]), asks the scheduler what runs on this thread, and if the fault is in
//! that routine's guard prints the line and aborts, as std does for its threads. Every other fault
//! goes to the handler that was there before, as if ours did not exist.
//!
//! 1. Everything up to the abort is async-signal-safe: no allocation, no lock, `write(2)` for
//!    output.
//! 2. The previous actions are known before our handler is in place, and it is never removed.
//! 3. The previous handler runs with the signal mask and flags that it asked for, except that it
//!    runs on the alternate stack: it may be there because the other one is full.
//!
//! Sources: [`sigaction(2)`](https://man7.org/linux/man-pages/man2/sigaction.2.html),
//! [`signal-safety(7)`](https://man7.org/linux/man-pages/man7/signal-safety.7.html).

#[cfg(test)]
mod tests;

use std::fmt::{self, Write};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::panic::Location;
use std::process;
use std::ptr;
use std::sync::{Once, OnceLock};

use super::memory::{self, page_size};

/// The signals that an access to a guard raises: the first on Linux, the second on macOS.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Bytes that handlers may use of the alternate stack, beyond what the kernel pushes.
///
/// Ours takes 3 KiB unoptimised, and std's stack promises none: it is 8 KiB, or exactly what the
/// kernel may push if that is more. The rest is for the previous handler, which may print a
/// backtrace.
const ALT_STACK_BYTES: usize = 64 * 1024;

/// Bytes of a report that are written at once: nearly always all of it.
const LINE_BYTES: usize = 512;

/// The routine that runs on a thread.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    /// Where an access means overflow.
    pub(crate) guard: Range<usize>,
    pub(crate) name: Option<&'a str>,
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    /// Bytes of its stack, as the user gave them.
    pub(crate) stack_size: usize,
}

/// Calls its argument with the routine that runs on this thread, if any.
///
/// Called in a signal handler, at any point of the program: it may read what this thread has
/// written, through a `const` thread-local for one, but not allocate, lock or panic.
pub(crate) type Probe = fn(&mut dyn FnMut(&Running<'_>));

/// What the handler needs to know.
struct Installed {
    probe: Probe,
    /// The previous actions, in the order of [`SIGNALS`].
    previous: [libc::sigaction; 2],
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Puts the handler in place, once per process. Later calls do nothing, whatever their probe.
pub(crate) fn install(probe: Probe) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = SIGNALS.map(|signal| {
            let mut action = default_action();
            // SAFETY: only reads the action, into a place of ours. Cannot fail for these signals.
            unsafe { libc::sigaction(signal, ptr::null(), &mut action) };
            action
        });
        let Installed { previous, .. } = INSTALLED.get_or_init(|| Installed { probe, previous });

        for (signal, previous) in SIGNALS.into_iter().zip(previous) {
            let handler: unsafe extern "C" fn(_, _, _) = on_fault;
            let mut action = *previous;
            action.sa_sigaction = handler as usize;
            action.sa_flags &= libc::SA_NODEFER | libc::SA_RESTART;
            action.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: `on_fault` is a handler as SA_SIGINFO wants it, and signal-safe (1).
            unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
    });
}

/// # Safety
///
/// To be called by the kernel only.
unsafe extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // There, by (2).
    let Some(installed) = INSTALLED.get() else { process::abort() };
    // SAFETY: with SA_SIGINFO the kernel passes what it knows of the signal, on this stack.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Positive if the kernel raised it for something this thread did, and only then is there an
    // address.
    if code > 0 {
        (installed.probe)(&mut |running| {
            if running.guard.contains(&address) {
                report(running);
                process::abort();
            }
        });
    }
    let previous = &installed.previous[usize::from(signal != SIGNALS[0])];
    // SAFETY: all as the kernel passed it to us.
    unsafe { forward(previous, code, signal, info, context) };
}

/// Does what the kernel would have done, had `previous` been in place.
///
/// # Safety
///
/// Within a handler for `signal`, with the arguments that it got.
unsafe fn forward(
    previous: &libc::sigaction,
    code: libc::c_int,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let handler = previous.sa_sigaction;
    let raised_by_fault = code > 0;
    if handler == libc::SIG_IGN && !raised_by_fault {
        return;
    }
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The kernel does not let a fault be ignored. It will repeat when we return, and then kill;
        // a signal that was sent has to be sent again, and arrives then.
        reset(signal);
        if !raised_by_fault {
            // SAFETY: signal-safe, and takes no pointer.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    if previous.sa_flags & libc::SA_RESETHAND != 0 {
        reset(signal);
    }
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: an action with SA_SIGINFO holds a function of this type.
        let handler: unsafe extern "C" fn(_, _, _) = unsafe { mem::transmute(handler) };
        // SAFETY: called as the kernel would have, with its arguments.
        unsafe { handler(signal, info, context) };
    } else {
        // SAFETY: an action without SA_SIGINFO holds a function of this type.
        let handler: unsafe extern "C" fn(_) = unsafe { mem::transmute(handler) };
        // SAFETY: called as the kernel would have.
        unsafe { handler(signal) };
    }
}

/// Leaves `signal` to the kernel.
fn reset(signal: libc::c_int) {
    // SAFETY: the default action calls nothing.
    unsafe { libc::sigaction(signal, &default_action(), ptr::null_mut()) };
}

fn default_action() -> libc::sigaction {
    // SAFETY: a plain C struct; all zero means SIG_DFL, no flags, and an empty mask.
    unsafe { mem::zeroed() }
}

/// Writes the line about an overflow to standard error.
fn report(running: &Running<'_>) {
    let Running { name, id, spawned_at, stack_size, .. } = running;
    let mut line = Line { bytes: [0; LINE_BYTES], len: 0 };
    // A `Line` never fails.
    let _ = match name {
        Some(name) => write!(line, "routine '{name}' (id {id})"),
        None => write!(line, "routine (id {id})"),
    };
    let _ = writeln!(
        line,
        ", spawned at {spawned_at}, has overflowed its stack of {stack_size} bytes; \
         give it more with Builder::stack_size, or all with RuntimeBuilder::stack_size"
    );
    line.flush();
}

/// Text on its way to standard error, without an allocation.
struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

impl Line {
    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // SAFETY: `rest` is readable.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            // There is nobody to tell that standard error is closed.
            let Ok(written @ 1..) = usize::try_from(written) else { break };
            rest = &rest[written..];
        }
        self.len = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == LINE_BYTES {
                self.flush();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// This thread's stack for signal handlers; without one an overflow is a silent death.
///
/// Leaves one of sufficient size alone, else puts a larger one in its place until dropped.
#[derive(Debug)]
pub(crate) struct AltStack {
    /// The mapping, guard page included, and what was there before.
    ours: Option<(Range<usize>, libc::stack_t)>,
    /// To be dropped on its own thread.
    _thread: PhantomData<*const ()>,
}

impl AltStack {
    /// Sees to it that this thread has an alternate stack.
    pub(crate) fn install() -> io::Result<Self> {
        let mut previous = no_stack();
        // SAFETY: only reads the setting, into a place of ours.
        unsafe { libc::sigaltstack(ptr::null(), &mut previous) };
        let size = frame_bytes() + ALT_STACK_BYTES;
        if previous.ss_flags & libc::SS_DISABLE == 0 && previous.ss_size >= size {
            return Ok(Self { ours: None, _thread: PhantomData });
        }

        let len = page_size() + size.next_multiple_of(page_size());
        let start = memory::map(len)?;
        let mapping = start..start + len;
        let stack = libc::stack_t {
            ss_sp: (start + page_size()) as *mut _,
            ss_flags: 0,
            ss_size: len - page_size(),
        };
        // SAFETY: the mapping is new, and stays until the stack is out of use (`drop`).
        let installed = unsafe {
            memory::protect(start..start + page_size()).and_then(|()| set_alt_stack(&stack))
        };
        if let Err(error) = installed {
            // SAFETY: nobody knows of the mapping.
            unsafe { memory::unmap(mapping) };
            return Err(error);
        }
        Ok(Self { ours: Some((mapping, previous)), _thread: PhantomData })
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some((mapping, previous)) = self.ours.take() else { return };
        let mut current = no_stack();
        // SAFETY: only reads the setting, into a place of ours.
        unsafe { libc::sigaltstack(ptr::null(), &mut current) };
        // Somebody may have replaced it since, and would put it back later: then it has to stay.
        if !mapping.contains(&(current.ss_sp as usize)) {
            return;
        }
        // SAFETY: what was in place before we came may be so again; it is this thread's
        // (`_thread`). Once it is, nothing refers to our mapping.
        unsafe {
            if set_alt_stack(&previous).is_ok() {
                memory::unmap(mapping);
            }
        }
    }
}

/// # Safety
///
/// The memory of an enabled `stack` stays usable by signal handlers until it is replaced.
unsafe fn set_alt_stack(stack: &libc::stack_t) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::sigaltstack(stack, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn no_stack() -> libc::stack_t {
    // macOS checks the size of even this.
    libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: libc::SIGSTKSZ }
}

/// Bytes that the kernel pushes before a handler runs: the registers, up to 11 KiB on x86-64 with
/// AMX.
fn frame_bytes() -> usize {
    #[cfg(target_os = "linux")]
    // SAFETY: only reads what the kernel passed to the process. Zero if it passed nothing.
    let dynamic = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    #[cfg(not(target_os = "linux"))]
    let dynamic = 0;
    dynamic.max(libc::MINSIGSTKSZ)
}

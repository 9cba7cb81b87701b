//! Spawning on the current runtime or, outside of routines, the global one.

use std::io;

use rust_routines_core::sync::CancellationToken;
use rust_routines_core::{self as core, Group, JoinHandle, Scope, ScopedJoinHandle};

use crate::global;

/// Spawns a routine, as `std::thread::spawn` does a thread.
///
/// Inside a routine it belongs to the same runtime; elsewhere to the global one, which is made on first use. If the runtime
/// is shutting down by force, the closure is dropped, and joining it gives [`Canceled`](crate::Canceled).
///
/// # Panics
///
/// If there is no room for another routine, or no global runtime can be made; [`Builder::spawn`] returns an
/// error instead.
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match global::current() {
        Ok(runtime) => runtime.spawn(f),
        Err(error) => panic!("failed to make the global runtime: {error}"),
    }
}

/// Runs `f` with a scope whose routines may borrow from around it, and returns when all of them have ended:
/// `std::thread::scope` with routines.
///
/// ```
/// let mut numbers = [3, 1, 2];
/// rust_routines::scope(|scope| {
///     for number in &mut numbers {
///         scope.spawn(move || *number *= 2);
///     }
/// });
/// assert_eq!(numbers, [6, 2, 4]);
/// ```
///
/// # Panics
///
/// With the payload of `f` if that panics, else if a routine panicked that was not joined. Also if no global
/// runtime can be made.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    match global::current() {
        Ok(runtime) => runtime.scope(f),
        Err(error) => panic!("failed to make the global runtime: {error}"),
    }
}

/// Runs `f` with a group whose routines may borrow from around it and may fail, and returns when all of them have
/// ended: [`scope`] with errors, after Go's `errgroup`.
///
/// The first that returns an error, or panics, cancels the group's [token](Group::token), for the others to look at;
/// nobody is stopped by force. What `f` returns counts like what a member returns.
///
/// ```
/// use std::num::ParseIntError;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// fn sum(texts: &[&str]) -> Result<u32, ParseIntError> {
///     let sum = AtomicU32::new(0);
///     rust_routines::group(|group| {
///         group.limit(2);
///         for text in texts {
///             let sum = &sum;
///             group.spawn(move || {
///                 sum.fetch_add(text.parse()?, Ordering::Relaxed);
///                 Ok(())
///             });
///         }
///         Ok(())
///     })?;
///     Ok(sum.into_inner())
/// }
///
/// assert_eq!(sum(&["1", "2", "3"]), Ok(6));
/// assert!(sum(&["1", "two", "3"]).is_err());
/// ```
///
/// # Errors
///
/// The first error of a member or of `f`.
///
/// # Panics
///
/// As [`scope`].
#[track_caller]
pub fn group<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&Group<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    group_with_token(CancellationToken::new(), f)
}

/// A [`group`] with this for its [token](Group::token): a child, as a rule, of one that others cancel or that has a deadline.
/// Go's `errgroup.WithContext`.
///
/// ```
/// use rust_routines::sync::CancellationToken;
/// use std::time::Duration;
///
/// let request = CancellationToken::new().with_timeout(Duration::from_millis(5));
/// let result = rust_routines::group_with_token(request.child_token(), |group| {
///     let token = group.token().clone();
///     group.spawn(move || {
///         token.wait();
///         Err::<(), _>("out of time")
///     });
///     Ok(())
/// });
/// assert_eq!(result, Err("out of time"));
/// ```
///
/// # Errors
///
/// The first error of a member or of `f`.
///
/// # Panics
///
/// As [`scope`].
#[track_caller]
pub fn group_with_token<'env, F, T, E>(token: CancellationToken, f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&Group<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    match global::current() {
        Ok(runtime) => runtime.group_with_token(token, f),
        Err(error) => panic!("failed to make the global runtime: {error}"),
    }
}

/// Options of a routine, as `std::thread::Builder` has them for threads.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder(core::Builder);

impl Builder {
    /// The defaults: no name, the runtime's stack size, placed near the spawner.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the routine, for panic messages and statistics.
    pub fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    /// Gives the routine a stack of `bytes` of address space, its guard included, instead of the runtime's
    /// default. Rounded up to a power of two. Memory is used only as far as the stack is touched.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self(self.0.stack_size(bytes))
    }

    /// Places the routine on the workers in turn instead of near its spawner: for the handlers of an accept
    /// loop, and for CPU-heavy fan-out.
    pub fn spread(self) -> Self {
        Self(self.0.spread())
    }

    /// Spawns a routine on the current runtime or, outside of routines, the global one.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if there is no address space for another stack, `InvalidInput` for a stack size that
    /// cannot be, `Other` if the runtime is shutting down; or what keeps the global runtime from being made.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_on(&global::current()?, f)
    }

    /// Spawns a routine on `runtime`.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_on<F, T>(self, runtime: &core::Handle, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_on(runtime, f)
    }

    /// Spawns a routine in a scope.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.0.spawn_scoped(scope, f)
    }
}

/// Spawns a routine: a call, a block, a closure, or the path of a function.
///
/// A call or block is moved into the routine with everything it uses; a closure or function is taken as it is. A path with
/// generic arguments or a leading `::` is taken for a block, which calls nothing: write `go!(f::<u8>())`.
///
/// ```
/// use rust_routines::{channel::unbounded, go};
///
/// fn greet(to: rust_routines::channel::Sender<&'static str>) {
///     to.send("hello").unwrap();
/// }
///
/// let (sender, receiver) = unbounded();
/// let other = sender.clone();
/// go!(greet(sender));
/// go! {
///     other.send("hello").unwrap();
///     other.send("hello").unwrap();
/// };
/// assert_eq!(receiver.iter().count(), 3);
/// assert_eq!(go!(|| 6 * 7).join().unwrap(), 42);
/// ```
#[macro_export]
macro_rules! go {
    (move || $($body:tt)+) => {
        $crate::spawn(move || $($body)+)
    };
    (|| $($body:tt)+) => {
        $crate::spawn(|| $($body)+)
    };
    ($($path:ident)::+) => {
        $crate::spawn($($path)::+)
    };
    ($($body:tt)+) => {
        $crate::spawn(move || { $($body)+ })
    };
}

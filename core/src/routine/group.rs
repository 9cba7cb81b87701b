//! Routines that succeed together or stop together, after Go's `errgroup`.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::builder::{Builder, refused};
use super::scope::{Scope, ScopedJoinHandle};
use crate::runtime::Handle;
use crate::sync::{CancellationToken, OnceLock, Semaphore};
use crate::unwinding::resume;

/// A [scope](Handle::scope) whose routines may fail. Made by [`Handle::group`].
///
/// Clones are the same group, for members that spawn others.
pub struct Group<'scope, 'env: 'scope, E> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    token: CancellationToken,
    first: Mutex<Option<E>>,
    /// As many permits as members may run at a time; unlimited if not set.
    room: OnceLock<Semaphore>,
}

impl<E> Shared<E> {
    fn fail(&self, error: E) {
        let mut first = self.first.lock();
        // The error of one that came later is dropped outside the lock.
        let later = if first.is_none() { first.replace(error) } else { Some(error) };
        drop(first);
        drop(later);
        self.token.cancel();
    }
}

/// Ends a member, however it ends; also one that never starts.
struct Member<E> {
    shared: Arc<Shared<E>>,
    /// It has started and has not returned: a panic ends it.
    running: bool,
    /// It has a permit.
    counted: bool,
}

impl<E> Drop for Member<E> {
    fn drop(&mut self) {
        if self.running {
            self.shared.token.cancel();
        }
        if let (true, Some(room)) = (self.counted, self.shared.room.get()) {
            room.add_permits(1);
        }
    }
}

impl Handle {
    /// Runs `f` with a group whose routines may borrow from around it, and returns when all of them have ended.
    ///
    /// The first that returns an error, or panics, [cancels](Group::token) the group; nobody is stopped by force. What
    /// `f` returns counts like what a member returns.
    ///
    /// A member that the shutdown of the runtime ends counts as neither an error nor a panic, as in a scope.
    ///
    /// # Errors
    ///
    /// The first error of a member or of `f`.
    ///
    /// # Panics
    ///
    /// As [`scope`](Self::scope): with the payload of `f` if that panics, else if a member panicked that was not joined.
    #[track_caller]
    pub fn group<'env, F, T, E>(&self, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Group<'scope, 'env, E>) -> Result<T, E>,
        E: Send + 'env,
    {
        self.group_with_token(CancellationToken::new(), f)
    }

    /// A [group](Self::group) with this for its [token](Group::token): a child, as a rule, of one that others cancel or
    /// that has a deadline. Go's `errgroup.WithContext`.
    ///
    /// # Errors
    ///
    /// The first error of a member or of `f`.
    ///
    /// # Panics
    ///
    /// As [`scope`](Self::scope).
    #[track_caller]
    pub fn group_with_token<'env, F, T, E>(&self, token: CancellationToken, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&Group<'scope, 'env, E>) -> Result<T, E>,
        E: Send + 'env,
    {
        let shared = Arc::new(Shared { token, first: Mutex::new(None), room: OnceLock::new() });
        let result = self.scope(|scope| {
            let group = Group { scope, shared: shared.clone() };
            // The members are told before the scope waits for them.
            match catch_unwind(AssertUnwindSafe(|| f(&group))) {
                Ok(Ok(value)) => Some(value),
                Ok(Err(error)) => {
                    group.shared.fail(error);
                    None
                }
                Err(payload) => {
                    group.shared.token.cancel();
                    resume(payload)
                }
            }
        });
        let first = shared.first.lock().take();
        match (first, result) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => unreachable!("a failed closure has left its error"),
        }
    }
}

impl<'scope, 'env, E: Send + 'env> Group<'scope, 'env, E> {
    /// Spawns a member, and waits until there is room for it if there is a [limit](Self::limit).
    ///
    /// Joining it gives what it returned, or `None` if that was an error: the group has it then. If the runtime is
    /// shutting down by force, the closure is dropped, and joining it gives [`Canceled`](crate::Canceled).
    ///
    /// # Panics
    ///
    /// If there is no room for another routine in the runtime; [`try_spawn`](Self::try_spawn) returns an error instead.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> ScopedJoinHandle<'scope, Option<T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        match self.try_spawn(f) {
            Ok(handle) => handle,
            Err(error) => ScopedJoinHandle { handle: refused(error), scope: PhantomData },
        }
    }

    /// The same, without the panic.
    ///
    /// # Errors
    ///
    /// As for [`Builder::spawn_on`].
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> io::Result<ScopedJoinHandle<'scope, Option<T>>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let room = self.shared.room.get();
        if let Some(room) = room {
            // The member gives the permit back.
            room.acquire().expect("nobody closes it").forget();
        }
        let shared = self.shared.clone();
        let mut member = Member { shared, running: false, counted: room.is_some() };
        Builder::new().spawn_scoped(self.scope, move || {
            member.running = true;
            let result = f();
            member.running = false;
            result.map_err(|error| member.shared.fail(error)).ok()
        })
    }

    /// Lets at most `members` run at a time: [`spawn`](Self::spawn) waits for room. Those that were spawned before are
    /// not counted. Members that spawn others under a limit may wait for each other for ever.
    ///
    /// # Panics
    ///
    /// If `members` is zero, or there is a limit already.
    #[track_caller]
    pub fn limit(&self, members: usize) {
        assert!(members != 0, "a limit of zero would let nobody run");
        let room = Semaphore::new(members.min(Semaphore::MAX_PERMITS));
        assert!(self.shared.room.set(room).is_ok(), "a group has one limit");
    }

    /// Is cancelled when a member fails. Work that is of no use then looks at it; its
    /// [children](CancellationToken::child_token) may have deadlines. Whoever cancels it asks the members to stop
    /// without an error.
    pub fn token(&self) -> &CancellationToken {
        &self.shared.token
    }
}

impl<E> Clone for Group<'_, '_, E> {
    fn clone(&self) -> Self {
        Self { scope: self.scope, shared: self.shared.clone() }
    }
}

impl<E> fmt::Debug for Group<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("token", &self.shared.token).finish_non_exhaustive()
    }
}

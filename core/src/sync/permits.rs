//! What a semaphore hands out.

use std::fmt;
use std::mem;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

use super::Semaphore;

/// Permits of a semaphore that is borrowed.
pub type Permit<'a> = Permits<&'a Semaphore>;

/// Permits that keep their semaphore, to be passed to another routine for instance.
pub type OwnedPermit = Permits<Arc<Semaphore>>;

/// Permits of a [`Semaphore`], given back when dropped: a [`Permit`] or an [`OwnedPermit`].
#[must_use = "if unused the permits are given back at once"]
pub struct Permits<S: Deref<Target = Semaphore>> {
    semaphore: S,
    permits: usize,
}

impl Permit<'_> {
    /// The same permits, with a handle of theirs to the same semaphore.
    pub(super) fn kept_by(mut self, semaphore: Arc<Semaphore>) -> OwnedPermit {
        Permits::new(semaphore, mem::take(&mut self.permits))
    }
}

impl<S: Deref<Target = Semaphore>> Permits<S> {
    /// Takes charge of permits that were taken from the semaphore.
    pub(super) fn new(semaphore: S, permits: usize) -> Self {
        Self { semaphore, permits }
    }

    /// How many permits these are.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Never gives them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// Splits off so many of them, or `None` if there are not as many.
    pub fn split(&mut self, permits: usize) -> Option<Self>
    where
        S: Clone,
    {
        self.permits = self.permits.checked_sub(permits)?;
        Some(Self::new(self.semaphore.clone(), permits))
    }

    /// Adds the permits of `other` to these.
    ///
    /// # Panics
    ///
    /// If they belong to another semaphore.
    #[track_caller]
    pub fn merge(&mut self, other: Self) {
        assert!(
            ptr::eq(&*self.semaphore, &*other.semaphore),
            "permits of different semaphores cannot be merged"
        );
        self.permits += other.permits;
        other.forget();
    }
}

impl<S: Deref<Target = Semaphore>> Drop for Permits<S> {
    fn drop(&mut self) {
        if self.permits != 0 {
            self.semaphore.add_permits(self.permits);
        }
    }
}

impl<S: Deref<Target = Semaphore>> fmt::Debug for Permits<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("permits", &self.permits).finish_non_exhaustive()
    }
}

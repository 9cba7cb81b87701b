//! Runs closures that block their thread on the I/O driver's pool.

/// Runs `f` where it may block.
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    f()
}

//! The `select!` macros: three names for one.
//!
//! `__rr_select!` works in two passes. `@split` cuts the input into cases, each of the form
//! `{kind (arguments) [pattern] {body}}`. `@build` takes one after the other and nests what it makes of them, so that
//! temporaries in a case's expression live until the end: outermost the first channel, innermost the choice and the
//! bodies. Each step of the recursion makes a `handle` of its own, which macro hygiene keeps apart.

/// See the header of the file.
#[doc(hidden)]
#[macro_export]
macro_rules! __rr_select {
    // ---- cut into cases
    (@split $biased:tt [$($cases:tt)*]) => {
        $crate::__rr_select!(@build $biased (0) [] [] $($cases)*)
    };
    (@split $biased:tt [$($cases:tt)*]
        $kind:ident $(($($args:tt)*))? $(-> $result:pat)? => { $($body:tt)* }, $($rest:tt)*
    ) => {
        $crate::__rr_select!(@split $biased
            [$($cases)* {$kind ($($($args)*)?) [$($result)?] {$($body)*}}] $($rest)*)
    };
    (@split $biased:tt [$($cases:tt)*]
        $kind:ident $(($($args:tt)*))? $(-> $result:pat)? => $body:expr, $($rest:tt)*
    ) => {
        $crate::__rr_select!(@split $biased
            [$($cases)* {$kind ($($($args)*)?) [$($result)?] {$body}}] $($rest)*)
    };
    (@split $biased:tt [$($cases:tt)*]
        $kind:ident $(($($args:tt)*))? $(-> $result:pat)? => { $($body:tt)* } $($rest:tt)*
    ) => {
        $crate::__rr_select!(@split $biased
            [$($cases)* {$kind ($($($args)*)?) [$($result)?] {$($body)*}}] $($rest)*)
    };
    (@split $biased:tt [$($cases:tt)*]
        $kind:ident $(($($args:tt)*))? $(-> $result:pat)? => $body:expr
    ) => {
        $crate::__rr_select!(@split $biased
            [$($cases)* {$kind ($($($args)*)?) [$($result)?] {$body}}])
    };
    (@split $biased:tt [$($cases:tt)*] $($rest:tt)*) => {
        compile_error!(concat!(
            "expected `recv(receiver) -> result => body`, `send(sender, message) -> result => body` or \
             `default => body`, each but the last with a block or a comma at its end; found `",
            stringify!($($rest)*), "`"
        ))
    };

    // ---- build: biased, index of the next case, cases done, default, cases to do
    (@build $biased:tt ($index:expr) [$($done:tt)*] [$($default:tt)*]
        {recv ($receiver:expr $(,)?) [$result:pat] $body:tt} $($rest:tt)*
    ) => {
        match $receiver {
            ref handle => {
                let handle: &$crate::channel::Receiver<_> = handle;
                $crate::__rr_select!(@build $biased ($index + 1)
                    [$($done)* {recv handle ($index) () [$result] $body}] [$($default)*] $($rest)*)
            }
        }
    };
    (@build $biased:tt ($index:expr) [$($done:tt)*] [$($default:tt)*]
        {send ($sender:expr, $message:expr $(,)?) [$result:pat] $body:tt} $($rest:tt)*
    ) => {
        match $sender {
            ref handle => {
                let handle: &$crate::channel::Sender<_> = handle;
                $crate::__rr_select!(@build $biased ($index + 1)
                    [$($done)* {send handle ($index) ($message) [$result] $body}] [$($default)*]
                    $($rest)*)
            }
        }
    };
    (@build $biased:tt ($index:expr) [$($done:tt)*] []
        {default ($($timeout:expr $(,)?)?) [] $body:tt} $($rest:tt)*
    ) => {
        $crate::__rr_select!(@build $biased ($index) [$($done)*] [($($timeout)?) $body] $($rest)*)
    };
    (@build $biased:tt ($index:expr) [$($done:tt)*] [$($default:tt)+]
        {default ($($timeout:expr $(,)?)?) [] $body:tt} $($rest:tt)*
    ) => {
        compile_error!("there can be only one `default` case in a `select!` block")
    };
    (@build $biased:tt ($count:expr)
        [$({$kind:ident $handle:ident ($index:expr) $message:tt [$result:pat] $body:tt})*]
        [$($default:tt)*]
    ) => {{
        let operations: &[$crate::channel::internal::Operation<'_>] =
            &[$($handle.operation().at($index)),*];
        $crate::__rr_select!(@wait $biased operations operation [$($default)*] {
            let index = operation.index();
            $(if index == $index {
                $crate::__rr_select!(@complete $kind operation $handle $message [$result] $body)
            } else)* {
                ::core::unreachable!("one of the cases")
            }
        })
    }};
    (@build $biased:tt ($index:expr) [$($done:tt)*] [$($default:tt)*]
        {$kind:ident $args:tt [$($result:tt)*] $body:tt} $($rest:tt)*
    ) => {
        compile_error!(concat!(
            "expected `recv(receiver) -> result`, `send(sender, message) -> result`, `default` or \
             `default(timeout)`; found `",
            stringify!($kind $args), $(" -> ", stringify!($result),)* "`"
        ))
    };

    // ---- wait
    (@wait $biased:tt $operations:ident $operation:ident [] $chosen:tt) => {{
        let $operation = $crate::channel::internal::select($operations, $biased);
        $chosen
    }};
    (@wait $biased:tt $operations:ident $operation:ident [() $body:tt] $chosen:tt) => {
        match $crate::channel::internal::try_select($operations, $biased) {
            ::core::result::Result::Ok(operation) => {
                // With a destructor in it, the result would borrow the handles until the end of `default`, too.
                let $operation = ::core::mem::ManuallyDrop::into_inner(operation);
                $chosen
            }
            ::core::result::Result::Err(_) => $body
        }
    };
    (@wait $biased:tt $operations:ident $operation:ident [($timeout:expr) $body:tt] $chosen:tt) => {
        match $crate::channel::internal::select_timeout($operations, $biased, $timeout) {
            ::core::result::Result::Ok(operation) => {
                // With a destructor in it, the result would borrow the handles until the end of `default`, too.
                let $operation = ::core::mem::ManuallyDrop::into_inner(operation);
                $chosen
            }
            ::core::result::Result::Err(_) => $body
        }
    };

    // ---- complete
    (@complete recv $operation:ident $handle:ident () [$result:pat] $body:tt) => {{
        let $result = $operation.recv($handle);
        $body
    }};
    (@complete send $operation:ident $handle:ident ($message:expr) [$result:pat] $body:tt) => {{
        let $result = {
            let message = $message;
            $operation.send($handle, message)
        };
        $body
    }};
}

/// Waits for one of several channel operations, performs it, and goes on with what it says.
///
/// The syntax is that of crossbeam-channel's macro of this name. If several operations need not wait, one is
/// chosen at random. An operation that fails because the other side has gone need not wait, either.
///
/// ```text
/// select! {
///     recv(receiver) -> result => body,           // result: Result<T, RecvError>
///     send(sender, message) -> result => body,    // result: Result<(), SendError<T>>
///     default => body,                            // if all would have to wait; or
///     default(timeout) => body,                   // if all have waited so long
/// }
/// ```
///
/// Senders and receivers may be values, references, or expressions for either; they are evaluated once, in order.
/// A message is made only after its operation has been chosen. Without a buffer, the receiver has been chosen with
/// it and waits for the message, whatever its own limits are: making it should not take long. There may be any number of cases and at most one
/// `default`. The macro is an expression, whose value is that of the body, and `break`, `continue`, `return`
/// and `?` work in bodies.
///
/// [`rr_select!`](crate::rr_select) is the same under a name that clashes with no other.
/// [`Select`](crate::channel::Select) takes lists that are made at run time.
///
/// ```
/// use std::time::Duration;
/// use rust_routines_core::channel::{bounded, select, unbounded};
///
/// let (requests, inbox) = unbounded();
/// let (outbox, answers) = bounded(1);
/// requests.send(20).unwrap();
///
/// let mut sum = 0;
/// while sum < 100 {
///     select! {
///         recv(inbox) -> request => sum += request.unwrap(),
///         send(outbox, sum) -> sent => {
///             sent.unwrap();
///             sum += answers.recv().unwrap() + 1;
///         }
///         default(Duration::from_secs(1)) => unreachable!("there always is room"),
///     }
/// }
/// ```
#[macro_export]
macro_rules! select {
    () => {
        compile_error!("empty `select!` block")
    };
    ($($cases:tt)+) => {
        $crate::__rr_select!(@split false [] $($cases)+)
    };
}

/// [`select!`](crate::select), but of several operations that need not wait the first is chosen.
///
/// ```
/// use rust_routines_core::channel::{select_biased, unbounded};
///
/// let (urgent, first) = unbounded();
/// let (other, second) = unbounded();
/// other.send(2).unwrap();
/// urgent.send(1).unwrap();
/// let number = select_biased! {
///     recv(first) -> number => number,
///     recv(second) -> number => number,
/// };
/// assert_eq!(number, Ok(1));
/// ```
#[macro_export]
macro_rules! select_biased {
    () => {
        compile_error!("empty `select_biased!` block")
    };
    ($($cases:tt)+) => {
        $crate::__rr_select!(@split true [] $($cases)+)
    };
}

/// [`select!`](crate::select), under a name that does not clash with the macros of other crates.
#[macro_export]
macro_rules! rr_select {
    ($($cases:tt)*) => {
        $crate::select!($($cases)*)
    };
}

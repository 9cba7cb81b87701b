//! Our ends of the pipes to a child.

use std::io;

use crate::fs::File;
use crate::io::pipe::{pipe_end, readable, writable};

/// Our end of a child's pipe: a type with the name that it has in std.
macro_rules! child_pipe {
    ($name:ident, $what:literal) => {
        pipe_end! {
            #[doc = concat!("Our end of the pipe ", $what, " of a child.")]
            $name, std::process::$name
        }

        impl $name {
            pub(super) fn of_pipe(pipe: std::process::$name) -> io::Result<Self> {
                Ok(Self { pipe: File::of_pipe(pipe.into())? })
            }
        }
    };
}

child_pipe!(ChildStdin, "to the standard input");
child_pipe!(ChildStdout, "from the standard output");
child_pipe!(ChildStderr, "from the standard error");
writable!(ChildStdin);
writable!(&ChildStdin);
readable!(ChildStdout);
readable!(ChildStderr);

//! The examples do what they say: each is run as a program, with small numbers, and its answers are checked.

#[path = "examples/http.rs"]
mod http;
#[path = "examples/program.rs"]
mod program;
#[path = "examples/small.rs"]
mod small;
#[path = "examples/tour.rs"]
mod tour;

//! A limiter before a server that is told what to do: a limiter of core's plays Redis, on a clock that the test moves.

mod cases;
mod cluster;
mod laws;

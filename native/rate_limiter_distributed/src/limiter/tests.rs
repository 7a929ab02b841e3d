//! A shared limiter before a simulated authority: a local limiter decides, and the test controls clocks and network.

mod cases;
mod cluster;
mod laws;

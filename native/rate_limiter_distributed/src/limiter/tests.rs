//! A shared limiter before a simulated authority: a local limiter decides, and the test controls clocks and network.

mod backlog;
mod cluster;
mod counts;
mod laws;
mod losses;
mod named;
mod outage;
mod plans;
mod requests;
mod server;
mod uplink;

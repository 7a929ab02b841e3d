//! What is done when a moment has come: calls are answered that wait no longer, and sent that were to wait.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::{Driver, SILENCE};
use crate::context::count;
use crate::lane::flight::Flight;
use rate_limiter_distributed::breaker::State;

impl Driver {
    /// Puts calls back in line that were to wait a moment.
    pub(super) fn recall(&mut self, now: Instant) {
        while let Some(number) = self.later.iter().position(|(due, _)| *due <= now) {
            let (_, ticket) = self.later.swap_remove(number);
            self.board.enqueue(1);
            self.waiting.push_front(ticket);
        }
    }

    /// The timer went off.
    pub(super) fn wake(&mut self) {
        self.alarm = None;
        let now = Instant::now();
        let mut late = 0;
        while let Ok(parcel) = self.queue.try_recv() {
            self.gather(parcel);
        }
        for line in &mut self.lines {
            late += line
                .flights
                .iter_mut()
                .map(|flight| flight.expire(now))
                .sum::<usize>();
        }
        self.late(now, late);
        self.expire_waiting(now);
        self.give_up_on_the_silent(now);
    }

    pub(super) fn expire_waiting(&mut self, now: Instant) {
        let mut late = 0;
        while self
            .waiting
            .front()
            .is_some_and(|ticket| ticket.deadline <= now)
        {
            drop(self.waiting.pop_front());
            late += 1;
        }
        self.board.dequeue(late);
        self.late(now, late);
    }

    pub(super) fn late(&mut self, now: Instant, calls: usize) {
        count(&self.context.counts.timeouts, calls);
        let within = self.context.timeout;
        for _ in 0..calls {
            self.failed(now, &format_args!("no answer within {within:?}"));
        }
    }

    /// Connections on which nothing comes back are left: what is behind them may never say so.
    pub(super) fn give_up_on_the_silent(&mut self, now: Instant) {
        let patience = match self.breaker.state() {
            State::Closed => SILENCE,
            _ => Duration::ZERO,
        };
        for number in 0..self.lines.len() {
            let line = &mut self.lines[number];
            let silent = |flight: &mut Flight| flight.live == 0 && flight.sent + patience <= now;
            let given_up: Vec<Flight> = line.flights.extract_if(.., silent).collect();
            if given_up.is_empty() {
                continue;
            }
            self.leave(number, "it does not answer");
            for flight in given_up {
                self.report(&flight, now, Some("timeout"));
            }
        }
    }

    pub(super) fn set_alarm(&mut self, now: Instant, timer: Pin<&mut Sleep>) {
        if self.alarm.is_some() {
            return;
        }
        let flights = self.lines.iter().flat_map(|line| &line.flights);
        let landing = flights.map(|flight| flight.deadline().unwrap_or(flight.sent + SILENCE));
        let retries = self.lines.iter().filter_map(|line| line.retry_at);
        let first = self.waiting.front().map(|ticket| ticket.deadline);
        let later = self.later.iter().map(|(due, _)| *due);
        let probe = self.breaker.probe_at();
        let all = landing
            .chain(retries)
            .chain(first)
            .chain(later)
            .chain(probe);
        // Never later than a call that comes next must be answered, so that nothing need be set for it.
        self.alarm = all.min().map(|due| due.min(now + self.context.timeout));
        if let Some(alarm) = self.alarm {
            timer.reset(alarm.into());
        }
    }
}

//! Runs in turns, and their results.

use crate::case::Contender;
use crate::load::Load;

/// The results of one subject: nanoseconds a check, one figure for each round.
#[derive(Clone, Debug)]
pub struct Figures {
    /// In the order of the rounds.
    pub rounds: Vec<f64>,
}

impl Figures {
    /// Returns the median.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// Returns the quartiles, between which lies half of the rounds.
    #[must_use]
    pub fn quartiles(&self) -> (f64, f64) {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() - 1;
        (sorted[last / 4], sorted[last - last / 4])
    }

    /// Returns the time relative to `other`: the median of the ratios within each round.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// Returns the median of some figures; of an even number, the mean of the middle two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
    f64::midpoint(low, high)
}

/// Runs every contender once a round, each round another one first.
///
/// An untimed run of half the length precedes each timed one, so that the caches hold the contender's own data.
#[must_use]
pub fn measure(contenders: &[Contender], load: &Load, rounds: usize) -> Vec<Figures> {
    let warm_up = Load {
        checks: load.checks / 2,
        ..*load
    };
    let mut figures = vec![
        Figures {
            rounds: vec![0.0; rounds]
        };
        contenders.len()
    ];
    for contender in contenders {
        contender.fill(load);
    }
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            // Fills the caches.
            let _ = contenders[at].run(&warm_up);
            let time = contenders[at].run(load);
            figures[at].rounds[round] = time.as_secs_f64() * 1e9 / f64::from(load.checks);
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(
            median(vec![4.0, 1.0, 2.0, 90.0]).to_bits(),
            3.0_f64.to_bits()
        );
    }

    #[test]
    fn a_ratio_is_taken_within_each_round_so_that_a_slow_one_does_not_count() {
        let ours = Figures {
            rounds: vec![10.0, 100.0, 10.0],
        };
        let theirs = Figures {
            rounds: vec![20.0, 200.0, 20.0],
        };
        assert_eq!(ours.ratio_to(&theirs).to_bits(), 0.5_f64.to_bits());
        assert_eq!(ours.quartiles().0.to_bits(), 10.0_f64.to_bits());
    }
}

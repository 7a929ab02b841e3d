//! Attempts that are started one after the other, without waiting for the end of the one before.

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// Returns the result of the first attempt that succeeds, or else the last error; `None` without an attempt.
///
/// Starts the next attempt after `delay`, or at once when one has failed. So an attempt that hangs delays the others, but
/// does not keep them from succeeding.
pub(crate) async fn race<A, T, E>(
    attempts: impl IntoIterator<Item = A>,
    delay: Duration,
) -> Option<Result<T, E>>
where
    A: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter();
    let mut running: Vec<Pin<Box<A>>> = Vec::new();
    let mut timer = pin!(sleep_until(Instant::now().into()));
    let mut next = attempts.next();
    let (mut is_due, mut failure) = (true, None);
    poll_fn(|context| loop {
        if is_due {
            if let Some(attempt) = next.take() {
                running.push(Box::pin(attempt));
                next = attempts.next();
                timer.as_mut().reset((Instant::now() + delay).into());
            }
            is_due = false;
        }
        let mut at = 0;
        while let Some(attempt) = running.get_mut(at) {
            match attempt.as_mut().poll(context) {
                Poll::Ready(Ok(found)) => return Poll::Ready(Some(Ok(found))),
                Poll::Ready(Err(error)) => {
                    drop(running.swap_remove(at));
                    (is_due, failure) = (true, Some(Err(error)));
                }
                Poll::Pending => at += 1,
            }
        }
        if next.is_none() {
            if running.is_empty() {
                return Poll::Ready(failure.take());
            }
            return Poll::Pending;
        }
        is_due = is_due || timer.as_mut().poll(context).is_ready();
        if !is_due {
            return Poll::Pending;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    type Attempt = Pin<Box<dyn Future<Output = Result<u8, u8>>>>;

    fn run(attempts: Vec<Attempt>) -> Option<Result<u8, u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(race(attempts, Duration::from_millis(1)))
    }

    fn hanging() -> Attempt {
        Box::pin(pending())
    }

    fn ending(result: Result<u8, u8>) -> Attempt {
        Box::pin(ready(result))
    }

    fn unreached() -> Attempt {
        Box::pin(async { panic!("started, although an earlier attempt has succeeded") })
    }

    #[test]
    fn an_attempt_that_hangs_does_not_keep_the_next_one_from_succeeding() {
        let attempts = vec![
            hanging(),
            ending(Err(1)),
            hanging(),
            ending(Ok(2)),
            unreached(),
        ];
        assert_eq!(run(attempts), Some(Ok(2)));
    }

    #[test]
    fn the_first_success_ends_the_race() {
        assert_eq!(run(vec![ending(Ok(1)), unreached()]), Some(Ok(1)));
        assert_eq!(
            run(vec![ending(Err(9)), ending(Ok(1)), unreached()]),
            Some(Ok(1))
        );
    }

    #[test]
    fn if_all_attempts_fail_the_last_error_is_returned() {
        assert_eq!(run(vec![ending(Err(1)), ending(Err(2))]), Some(Err(2)));
        assert_eq!(run(Vec::new()), None);
    }
}

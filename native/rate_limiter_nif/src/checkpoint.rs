//! Checkpoints of local limiters, on dirty schedulers for I/O. Calls go on meanwhile.

use std::path::PathBuf;

use rate_limiter_checkpoint::{Error, Folder, Head, Member, Refused, Restored};
use rate_limiter_core::{monotonic, utc_ahead, CallError, Limit, Nanos, Tag};
use rustler::{Atom, Binary, Encoder, Env, NifMap, NifResult, Term};

use crate::decode::List;
use crate::handle::Handle;
use crate::local::{self, Local};
use crate::refusal::{answer, Refusal};
use crate::{atom_bits, atoms, id};

/// A limiter by its name, and what it is now.
struct Named {
    name: String,
    windows: Vec<(String, Tag, Limit)>,
    local: Local,
}

#[derive(NifMap)]
#[rustler(encode)]
struct SavedTerm {
    file: String,
    keys: u64,
    bytes: u64,
}

#[derive(NifMap)]
#[rustler(encode)]
struct RestoredTerm {
    file: String,
    keys: u64,
    left_out: u64,
    dropped: Vec<String>,
    age_ms: i64,
}

/// `{:ok, saved}`, `{:error, reason}`, or `:unknown_limiter`: without one of them the file would be the newest one, and have
/// lost its counts.
#[rustler::nif(schedule = "DirtyIo")]
fn checkpoint_save<'a>(
    env: Env<'a>,
    folder: &str,
    keep: usize,
    instance: Binary<'a>,
    limiters: List<(Atom, u64)>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiters = named(env, &limiters.0)?;
        let members: Vec<_> = limiters.iter().map(Named::member).collect();
        let head = Head {
            instance: instance.as_slice().to_vec(),
            seed: id::secret(),
            written: now(),
        };
        let saved = Folder::new(PathBuf::from(folder)).save(keep, &head, &members);
        Ok(match saved {
            Ok(saved) => {
                let saved = SavedTerm {
                    file: saved.file.display().to_string(),
                    keys: saved.keys,
                    bytes: saved.bytes,
                };
                (atoms::ok(), saved).encode(env)
            }
            Err(Error::Closed) => return Err(CallError::UnknownLimiter.into()),
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        })
    })
}

/// `{:ok, restored | nil, [{file, reason}]}` or `{:error, reason}`
#[rustler::nif(schedule = "DirtyIo")]
fn checkpoint_restore<'a>(
    env: Env<'a>,
    folder: &str,
    instance: Binary<'a>,
    limiters: List<(Atom, u64)>,
) -> NifResult<Term<'a>> {
    answer(env, || {
        let limiters = named(env, &limiters.0)?;
        let members: Vec<_> = limiters.iter().map(Named::member).collect();
        let now = now();
        let folder = Folder::new(PathBuf::from(folder));
        let outcome = folder.restore(now, &members, |head| {
            if head.instance != instance.as_slice() {
                return Err(Error::Instance);
            }
            if !id::continue_with(head.seed) {
                return Err(Error::Secret);
            }
            Ok(())
        });
        Ok(match outcome {
            Ok(outcome) => {
                let restored = outcome
                    .restored
                    .map(|restored| restored_term(restored, now));
                let refused: Vec<_> = outcome.refused.iter().map(refused_term).collect();
                (atoms::ok(), restored, refused).encode(env)
            }
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        })
    })
}

fn restored_term(restored: Restored, now: Nanos) -> RestoredTerm {
    let ms = |nanos: Nanos| i64::try_from(nanos.0 / 1_000_000).unwrap_or(i64::MAX);
    RestoredTerm {
        file: restored.file.display().to_string(),
        keys: restored.keys,
        left_out: restored.left_out,
        dropped: restored.dropped,
        age_ms: ms(now) - ms(restored.written),
    }
}

fn refused_term(refused: &Refused) -> (String, String) {
    let file = refused.file.display().to_string();
    (file, refused.reason.to_string())
}

/// The time in UTC.
fn now() -> Nanos {
    monotonic().saturating_add(utc_ahead())
}

fn named(env: Env, limiters: &[(Atom, u64)]) -> Result<Vec<Named>, Refusal> {
    let text = |atom: Term| atom_bits::text(atom).ok_or(Refusal::Misuse);
    let named = limiters.iter().map(|&(name, handle)| {
        let local = local::find(Handle::from_number(handle)).ok_or(CallError::UnknownLimiter)?;
        let limits = local.place.limiter.limits(local.epoch)?.into_iter();
        let windows = limits.map(|(tag, limit, _max)| {
            let name = text(atom_bits::to_atom(env, tag))?;
            Ok((name, tag, limit))
        });
        Ok(Named {
            name: text(name.to_term(env))?,
            windows: windows.collect::<Result<_, Refusal>>()?,
            local,
        })
    });
    named.collect()
}

impl Named {
    fn member(&self) -> Member<'_> {
        Member {
            name: self.name.clone(),
            windows: self.windows.clone(),
            limiter: &self.local.place.limiter,
            epoch: self.local.epoch,
        }
    }
}

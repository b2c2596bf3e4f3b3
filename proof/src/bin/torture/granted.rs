//! What workers do with a mutex, a semaphore, values and mutable arrays, and what each must say at any time.

use std::time::Duration;

use faretra::sync::{Mutex, MutexGuard, Permit, Semaphore, SharedValue};
use faretra::{Arena, Error, MutableArray, RowsMut};
use ndarray::Ix2;

use crate::values::{Random, payload, seed_of};
use crate::{Count, PATIENCE, allowed};

const PERMITS: u32 = 5;
const PARTITIONS: usize = 4;
const SHAPE: (usize, usize) = (24, 64);
const ARRAYS: u64 = 2;
const SOON: Duration = Duration::from_millis(2);
/// Words of the value that is stored and not updated.
const STORED: usize = 40;

type Rows = RowsMut<u64, Ix2>;
type Locked = MutexGuard<'static, [u64; 4]>;

/// Handles, and what is held from one step to the next.
pub struct Granted {
    mutex: Mutex<[u64; 4]>,
    /// Who has the mutex: written under it.
    inside: SharedValue<u32>,
    semaphore: Semaphore,
    counter: SharedValue<[u64; 6]>,
    small: SharedValue<u64>,
    stored: SharedValue<[u64; STORED]>,
    locked: Option<Locked>,
    permits: Vec<Permit<'static>>,
    /// Rows whose first half has a new value, and that value.
    half: Option<(Rows, u64)>,
    /// The highest that was seen: of the mutex, the counter, the small counter.
    seen: [u64; 3],
}

fn all_equal(words: &[u64], what: &str) -> Result<u64, String> {
    match words {
        [first, rest @ ..] if rest.iter().all(|w| w == first) => Ok(*first),
        _ => Err(format!("{what} is torn: {:x?}", &words[..words.len().min(8)])),
    }
}

impl Granted {
    /// Opens all. `None`: there was no room at the moment.
    pub fn open(arena: &Arena) -> Result<Option<Granted>, String> {
        let open = || {
            let first: [u64; STORED] = payload(1, STORED).try_into().unwrap_or([0; STORED]);
            Ok(Granted {
                mutex: arena.mutex_with("mutex", [0; 4])?,
                inside: arena.shared_value("inside", 0)?,
                semaphore: arena.semaphore("semaphore", PERMITS)?,
                counter: arena.shared_value("counter", [0; 6])?,
                small: arena.shared_value("small", 0)?,
                stored: arena.shared_value("stored", first)?,
                locked: None,
                permits: vec![],
                half: None,
                seen: [0; 3],
            })
        };
        allowed(open())
    }

    /// One thing at random.
    pub fn step(&mut self, arena: &Arena, random: &mut Random, counts: &mut [u64]) -> Result<(), String> {
        let mut count = |what: Count| counts[what as usize] += 1;
        match random.below(10) {
            0..3 => self.lock_or_unlock(random, &mut count),
            3..5 => self.permit(random, &mut count),
            5..7 => self.value(random, &mut count),
            _ => self.rows(arena, random, &mut count),
        }
    }

    fn saw(&mut self, which: usize, value: u64) -> Result<(), String> {
        if value < self.seen[which] {
            return Err(format!("counter {which} went from {} to {value}", self.seen[which]));
        }
        self.seen[which] = value;
        Ok(())
    }

    fn lock_or_unlock(&mut self, random: &mut Random, count: &mut impl FnMut(Count)) -> Result<(), String> {
        if self.locked.is_some() {
            return self.unlock();
        }
        let Some(guard) = allowed(self.mutex.lock_timeout(SOON))? else { return Ok(()) };
        let before = self.enter(guard.into_owned(), count)?;
        self.saw(0, before)?;
        count(Count::Locks);
        if random.below(3) == 0 { Ok(()) } else { self.unlock() }
    }

    /// Checks what the mutex guards, and keeps it.
    fn enter(&mut self, mut guard: Locked, count: &mut impl FnMut(Count)) -> Result<u64, String> {
        let before = all_equal(&*guard, "the mutex's value")?;
        let me = std::process::id();
        let inside = self.inside.load().map_err(|e| e.to_string())?;
        if guard.recovered() {
            count(Count::Told);
            guard.mark_consistent();
        } else if inside != 0 {
            return Err(format!("process {inside} has the mutex, and nobody says so to {me}"));
        }
        self.inside.store(me).map_err(|e| e.to_string())?;
        self.locked = Some(guard);
        Ok(before)
    }

    fn unlock(&mut self) -> Result<(), String> {
        let Some(mut guard) = self.locked.take() else { return Ok(()) };
        let next = all_equal(&*guard, "a locked value")? + 1;
        for i in 0..4 {
            guard[i] = next;
        }
        let (inside, me) = (self.inside.load().map_err(|e| e.to_string())?, std::process::id());
        if inside != me {
            return Err(format!("{me} has the mutex, and {inside} says that it has"));
        }
        self.inside.store(0).map_err(|e| e.to_string())?;
        drop(guard);
        self.saw(0, next)
    }

    fn permit(&mut self, random: &mut Random, count: &mut impl FnMut(Count)) -> Result<(), String> {
        let available = self.semaphore.available().map_err(|e| e.to_string())?;
        if available + self.permits.len() as u32 > PERMITS {
            return Err(format!("{available} permits of {PERMITS} are free, and {} are here", self.permits.len()));
        }
        match random.below(4) {
            0..2 if self.permits.len() < 2 => {
                if let Some(permit) = allowed(self.semaphore.acquire_timeout(SOON))? {
                    count(Count::Permits);
                    if permit.recovered() {
                        count(Count::Told);
                    }
                    self.permits.push(permit.into_owned());
                }
            }
            2 => {
                if let Some(permit) = self.permits.pop() {
                    permit.forget();
                    // Others may have released it by then, or somebody else's who died before he could.
                    self.release()?;
                }
            }
            3 if random.below(8) == 0 => self.release().map(drop)?,
            _ => self.permits.clear(),
        }
        Ok(())
    }

    /// Whether one was used up.
    fn release(&self) -> Result<bool, String> {
        match self.semaphore.release() {
            Ok(()) => Ok(true),
            Err(Error::Invalid(_)) => Ok(false),
            Err(e) => Err(format!("release: {e}")),
        }
    }

    fn value(&mut self, random: &mut Random, count: &mut impl FnMut(Count)) -> Result<(), String> {
        let e = |e: Error| format!("a shared value: {e}");
        count(Count::Stores);
        match random.below(6) {
            0 => {
                let mut torn = None;
                let before = self.counter.update(|words| {
                    torn = all_equal(&words, "an updated value").err().or(torn.take());
                    words.map(|w| w + 1)
                });
                let before = before.map_err(e)?;
                torn.map_or(Ok(()), Err)?;
                self.saw(1, before[0] + 1)
            }
            1 => {
                let before = self.small.update(|n| n + 1).map_err(e)?;
                self.saw(2, before + 1)
            }
            2 => {
                let words = payload(random.next(), STORED).try_into().map_err(|_| "no payload")?;
                self.stored.store(words).map_err(e)
            }
            3 => {
                let words = self.stored.load().map_err(e)?;
                seed_of(&words).map(drop).map_err(|why| format!("a stored value is torn: {why}"))
            }
            4 => {
                let n = self.small.load().map_err(e)?;
                self.saw(2, n)
            }
            _ => {
                let words = self.counter.load().map_err(e)?;
                let n = all_equal(&words, "a shared value")?;
                self.saw(1, n)
            }
        }
    }

    fn rows(&mut self, arena: &Arena, random: &mut Random, count: &mut impl FnMut(Count)) -> Result<(), String> {
        if self.half.is_some() {
            return self.finish_rows();
        }
        let name = format!("rows{}", random.below(ARRAYS));
        let Some(array) = open_rows(arena, &name)? else { return Ok(()) };
        let partition = random.below(PARTITIONS as u64) as usize;
        match random.below(20) {
            0 => freeze(arena, &array, &name, count),
            1..11 => {
                let mut rows = match array.write_timeout(partition, SOON) {
                    Err(Error::Invalid(_)) => return gone(arena, &array, &name),
                    other => match allowed(other)? {
                        Some(rows) => rows,
                        None => return Ok(()),
                    },
                };
                count(Count::Partitions);
                if rows.recovered() {
                    count(Count::Told);
                }
                let words = rows.view_mut().map_err(|e| e.to_string())?.into_slice().ok_or("not contiguous")?;
                let whole = all_equal(words, "a partition");
                let half = words.len() / 2;
                let next = random.next();
                words[..half].fill(next);
                if !rows.recovered() {
                    whole.map_err(|why| format!("{name}: {why}, and nobody says so to its writer"))?;
                }
                self.half = Some((rows, next));
                if random.below(3) == 0 { Ok(()) } else { self.finish_rows() }
            }
            _ => {
                let Some(rows) = allowed(array.read_timeout(partition, SOON))? else { return Ok(()) };
                count(Count::Partitions);
                let view = rows.view().map_err(|e| e.to_string())?;
                let words = view.as_slice().ok_or("not contiguous")?;
                let before = words.to_vec();
                if rows.recovered() {
                    count(Count::Told);
                } else {
                    all_equal(&before, "a partition that is read").map_err(|why| format!("{name}: {why}"))?;
                }
                if words != before {
                    return Err(format!("partition {partition} of {name} changed while it was read"));
                }
                Ok(())
            }
        }
    }

    fn finish_rows(&mut self) -> Result<(), String> {
        let Some((mut rows, value)) = self.half.take() else { return Ok(()) };
        let words = rows.view_mut().map_err(|e| e.to_string())?.into_slice().ok_or("not contiguous")?;
        let half = words.len() / 2;
        all_equal(&words[..half], "our half of a partition")?;
        if words[0] != value {
            return Err("somebody else wrote in our partition".into());
        }
        words[half..].fill(value);
        rows.mark_consistent();
        Ok(())
    }

    /// Lets go of everything in good order.
    pub fn let_go(&mut self) -> Result<(), String> {
        self.unlock()?;
        self.finish_rows()?;
        self.permits.clear();
        Ok(())
    }

    /// In a forked child: what the parent holds is the parent's, and goes nowhere.
    pub fn forget_inherited(&mut self) -> Result<(), String> {
        let refused = self.mutex.try_lock().err();
        if !matches!(refused, Some(Error::Forked(_))) {
            return Err(format!("an inherited mutex gave {refused:?}"));
        }
        (self.locked, self.half) = (None, None);
        self.permits.clear();
        Ok(())
    }
}

fn open_rows(arena: &Arena, name: &str) -> Result<Option<MutableArray<u64, Ix2>>, String> {
    if let Some(array) = allowed(arena.mutable_array(name))? {
        return Ok(Some(array));
    }
    let Some(w) = allowed(arena.writer_timeout(SOON))? else { return Ok(None) };
    allowed(w.mutable_array(name, SHAPE, PARTITIONS))
}

fn frozen_is_whole(array: &MutableArray<u64, Ix2>, words: &[u64], name: &str) -> Result<(), String> {
    for p in 0..PARTITIONS {
        let rows = array.rows_of(p);
        all_equal(&words[rows.start * SHAPE.1..rows.end * SHAPE.1], "a frozen partition")
            .map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

/// Freezes an array; it is never written again, also when its name goes.
fn freeze(
    arena: &Arena,
    array: &MutableArray<u64, Ix2>,
    name: &str,
    count: &mut impl FnMut(Count),
) -> Result<(), String> {
    let frozen = match array.freeze_timeout(SOON) {
        // A partition was left half written.
        Err(Error::Invalid(_)) => return Ok(()),
        other => allowed(other)?,
    };
    let Some(frozen) = frozen else { return Ok(()) };
    count(Count::Frozen);
    let words = frozen.as_slice().ok_or("not contiguous")?;
    let before = words.to_vec();
    frozen_is_whole(array, words, name)?;
    gone(arena, array, name)?;
    if words != before {
        return Err(format!("the frozen {name} changed"));
    }
    Ok(())
}

/// Refused: it is frozen. Room for a new one.
fn gone(arena: &Arena, array: &MutableArray<u64, Ix2>, name: &str) -> Result<(), String> {
    if !array.is_frozen().map_err(|e| e.to_string())? {
        return Err(format!("{name} refused a writer, and is not frozen"));
    }
    if let Some(w) = allowed(arena.writer_timeout(SOON))? {
        allowed(w.remove(name))?;
    }
    Ok(())
}

/// In the end everything can be had, and is whole.
pub fn obtainable(arena: &Arena) -> Result<(), String> {
    let e = |e: Error| format!("the master: {e}");
    let mut all = Granted::open(arena)?.ok_or("no room for what is granted")?;
    let guard = all.mutex.lock_timeout(PATIENCE).map_err(e)?.into_owned();
    all.enter(guard, &mut |_| {})?;
    all.unlock()?;
    // What was used up by one who died before he released it.
    while all.release()? {}
    let permits: faretra::Result<Vec<Permit<'_>>> =
        (0..PERMITS).map(|_| all.semaphore.acquire_timeout(Duration::from_millis(100))).collect();
    let permits = permits.map_err(|e| format!("a permit is missing: {e}"))?;
    if all.semaphore.try_acquire().map_err(e)?.is_some() {
        return Err("there are more permits than there were".into());
    }
    drop(permits);
    let before = all.counter.update(|words| words.map(|w| w + 1)).map_err(e)?;
    all_equal(&before, "the counter")?;
    seed_of(&all.stored.load().map_err(e)?)?;
    for i in 0..ARRAYS {
        let name = format!("rows{i}");
        let Ok(array) = arena.mutable_array::<u64, Ix2>(&name) else { continue };
        if !array.is_frozen().map_err(e)? {
            let mut rows = array.write_all_timeout(PATIENCE).map_err(e)?;
            rows.view_mut().map_err(e)?.fill(7);
            rows.mark_consistent();
        }
        let frozen = array.freeze_timeout(PATIENCE).map_err(e)?;
        frozen_is_whole(&array, frozen.as_slice().ok_or("not contiguous")?, &name)?;
    }
    Ok(())
}

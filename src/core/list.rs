//! The directory's words: buckets, lists, the text of names. Read only; [`crate::core::name`] changes them.
//!
//! A **bucket** is a place that names an immutable LIST of entries. A **name** is an object too: its
//! record's place names its current object, its block holds the text.
//!
//! ```text
//! bucket (a place) --> LIST [n | hash+id | hash+id ..] --> NAME [bell | length | maker | text ..]
//!                                                            record.place --> current object
//! ```

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::core::geometry::meta;
use crate::core::mem::Load;
use crate::core::tables::{Kind, Tables};
use crate::core::word::{Id, Life, Place};
use crate::error::{Error, Result};

/// Longest name, in bytes.
pub const MAX_NAME: usize = 200;

/// A name's entry in a list: the hash's upper 38 bits, and the name's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed(pub(super) u64);

const ID: u64 = (1 << Id::BITS) - 1;

impl Listed {
    pub(super) fn new(hash: u64, id: Id) -> Listed {
        Listed(hash & !ID | u64::from(id.0))
    }

    pub fn id(self) -> Id {
        Id((self.0 & ID) as u32)
    }

    pub(super) fn has(self, hash: u64) -> bool {
        self.0 & !ID == hash & !ID
    }
}

/// FNV-1a (Fowler, Noll, Vo), then a mix of the bits (the finalizer of MurmurHash3): names differ in
/// their last characters, and both ends of the hash are used. Part of the format.
pub(super) fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let h = (fnv ^ fnv >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let h = (h ^ h >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

/// What is current under a name.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub id: Id,
    pub kind: Kind,
    pub version: u64,
    pub len: u64,
    pub rows: u64,
    pub time: u64,
}

/// Words of a name's block.
pub(super) const BELL: u64 = 0;
pub(super) const LENGTH: u64 = 8;
/// The lease of whoever makes what the name will stand for; see [`crate::core::maker`].
pub(super) const MAKER: u64 = 16;
pub(super) const TEXT: u64 = 24;

/// Bytes of the block of a name.
#[inline]
pub(super) fn name_bytes(name: &str) -> u64 {
    TEXT + (name.len() as u64).next_multiple_of(8)
}

impl<E: Load> Tables<E> {
    /// A bucket's value and its list, read together.
    pub fn list_of(&self, bucket: Id) -> Result<(Place, Vec<Listed>)> {
        self.read_list(bucket, |list| list.collect())
    }

    /// Whether a bucket's list has this name.
    pub fn lists(&self, bucket: Id, name: Id) -> Result<bool> {
        Ok(self.read_list(bucket, |list| list.map(Listed::id).any(|id| id == name))?.1)
    }

    /// What `read` makes of a bucket's list, and the bucket's value that it is true of.
    fn read_list<T>(&self, bucket: Id, read: impl Fn(&mut dyn Iterator<Item = Listed>) -> T) -> Result<(Place, T)> {
        if u64::from(bucket.0) >= self.geo.params.buckets {
            return Err(Error::damaged(format!("{bucket} is no bucket")));
        }
        let off = self.geo.bucket(bucket.0);
        loop {
            let place = self.place(off);
            let (at, n) = self.list_at(place)?.unwrap_or_default();
            let found = read(&mut (0..n).map(|i| Listed(self.env.load(at + i * 8, Acquire))));
            if self.place(off) == place {
                return Ok((place, found));
            }
        }
    }

    /// Where the entries of a bucket's list lie, and how many its slot can hold at most that it claims.
    #[inline]
    pub(super) fn list_at(&self, place: Place) -> Result<Option<(u64, u64)>> {
        let Some(id) = place.object() else {
            return Ok(None);
        };
        let id = self.object(id)?;
        let (zone, slot) = self.slot(id);
        if zone.set != Kind::List.set() {
            return Err(Error::damaged(format!("the list {id} lies among payloads")));
        }
        let at = zone.offset(slot);
        let n = self.env.load(at, Acquire).min(zone.size() / 8 - 1);
        Ok(Some((at + 8, n)))
    }

    /// The text of a name. Garbage if the name is freed meanwhile: pin it, or look again afterwards.
    pub fn text(&self, name: Id) -> String {
        let (zone, slot) = self.slot(name);
        let at = zone.offset(slot);
        let len = (self.env.load(at + LENGTH, Acquire) as usize).min(MAX_NAME).min((zone.size() - TEXT) as usize);
        let words = (0..len.div_ceil(8) as u64).map(|i| self.env.load(at + TEXT + i * 8, Relaxed).to_le_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[inline]
    pub(super) fn is_named(&self, id: Id, name: &str) -> bool {
        let (zone, slot) = self.slot(id);
        let at = zone.offset(slot);
        // Of a slot that has another tenant by now, no more is read than there is.
        if self.env.load(at + LENGTH, Acquire) != name.len() as u64 || name_bytes(name) > zone.size() {
            return false;
        }
        let mut at = at + TEXT;
        for chunk in name.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            if self.env.load(at, Relaxed) != u64::from_le_bytes(word) {
                return false;
            }
            at += 8;
        }
        true
    }

    /// Everything that is published, in no order: each entry was true at some moment of the call.
    pub fn names(&self) -> Result<Vec<Named>> {
        let mut all = vec![];
        for bucket in 0..self.geo.params.buckets as u32 {
            if self.place(self.geo.bucket(bucket)).object().is_none() {
                continue;
            }
            let from = all.len();
            // Bounded, so that a damaged or very busy bucket cannot hold us for ever.
            for _ in 0..1000 {
                all.truncate(from);
                let (place, list) = self.list_of(Id(bucket))?;
                for listed in list {
                    all.extend(self.named(self.name_object(listed.id())?)?);
                }
                if self.place(self.geo.bucket(bucket)) == place {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Checks the id of a name.
    #[inline]
    pub fn name_object(&self, name: Id) -> Result<Id> {
        let id = self.object(name)?;
        let (zone, _) = self.slot(id);
        if zone.set == Kind::Name.set() {
            return Ok(id);
        }
        Err(Error::damaged(format!("{id} is listed, but is no name")))
    }

    /// What is current under a name's record.
    fn named(&self, name: Id) -> Result<Option<Named>> {
        let off = self.geo.meta(name, meta::PLACE);
        loop {
            let place = self.place(off);
            let Some(id) = place.object() else {
                return Ok(None);
            };
            let id = self.object(id)?;
            let (kind, meta) = (self.seen_kind(id), |w| self.meta(id, w));
            let found = |kind| Named {
                name: self.text(name),
                id,
                kind,
                version: meta(meta::VERSION),
                len: meta(meta::LEN),
                rows: meta(meta::ROWS),
                time: meta(meta::TIME),
            };
            let found = kind.map(found);
            if self.place(off) == place {
                return found.map(Some);
            }
        }
    }

    pub fn bucket_of(&self, name: &str) -> Id {
        self.bucket_of_hash(hash(name))
    }

    /// There is a power of two of them.
    #[inline]
    pub(super) fn bucket_of_hash(&self, hash: u64) -> Id {
        Id((hash & (self.geo.params.buckets - 1)) as u32)
    }

    /// The word of a name's maker.
    pub fn maker_word(&self, name: Id) -> Life {
        Life(self.env.load(self.payload(name) + MAKER, SeqCst))
    }

    /// Offset of a name's bell.
    pub fn name_bell(&self, name: Id) -> u64 {
        self.payload(name) + BELL
    }
}

//! Reading everything: what is reported beyond the rules of the core.
//!
//! Two questions are asked of each object: whether it can be read, with all its values, and whether its bytes are those that
//! were published, where the arena keeps checksums (`copying.rs`). The second finds what the first cannot, such as a number that is another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::arena::Arena;
use crate::core::tables::Kind as Stored;
use crate::core::verify::Violation;
use crate::core::word::{Id, State};
use crate::error::{Error, Result};
use crate::reader::{Bundled, Object};
use crate::value::batch::{Cut, Layout, Region};
use crate::value::check::Trust;
use crate::value::view::{Attachment, Pin};

impl Arena {
    /// Checks every rule of the arena, reads every object that somebody keeps (batches with all their values, the members of
    /// bundles and tables, the elements of arrays, the items in channels and feeds), compares it with its checksum if it has
    /// one, and returns what does not hold, cannot be read or has changed. It takes as long as reading all of the arena's
    /// memory once, or twice with checksums.
    pub fn verify_deep(&self) -> Result<Vec<Violation>> {
        let mut all = self.verify()?;
        all.append(&mut unreadable(self.attachment())?);
        Ok(all)
    }
}

impl Object {
    /// Compares the bytes of the object and its parts with the checksums that they were published with, and returns how many
    /// bytes have one: none in an arena that was created without [`Options::checksums`](crate::Options::checksums), nor in a mutable array.
    /// It takes as long as reading the object once.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # let name = format!("doc-checksums-{}", std::process::id());
    /// let arena = Arena::options().checksums(true).limit(16 * MIB).keep(false).create(&name)?;
    /// arena.writer()?.publish("greeting", "hello")?;
    /// assert_eq!(arena.get("greeting")?.verify_checksums()?, 5);
    /// # Ok::<(), faretra::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], which names what has changed: the object, its member or batch, and the column.
    pub fn verify_checksums(&self) -> Result<u64> {
        let mut compared = Compared::default();
        compared.look(self, &format!("`{}`", self.name()))?;
        let more = match compared.changed.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        match compared.changed.first() {
            None => Ok(compared.bytes),
            Some(first) => Err(Error::damaged(format!("{first}{more}; publish it anew"))),
        }
    }

    /// Reads all of it, whatever is known of it.
    fn read_all(&self) -> Result<()> {
        match self.stored_kind() {
            Stored::Batch => {
                let body = self.body()?;
                let layout = Layout::parse(body)?;
                let region = Region { ground: &self.pin().ground(), extents: &self.extents()?, cut: Cut::Apart };
                layout.batch(&region, Trust::Nobody).map(drop)
            }
            Stored::Table | Stored::Bundle => {
                if self.stored_kind() == Stored::Bundle {
                    Bundled::try_from(self.clone())?;
                }
                (0..self.parts()).try_for_each(|index| self.part(index)?.read_all())
            }
            Stored::Array => self.array_info().and_then(|info| info.check(self.body()?)),
            _ => self.body().map(drop),
        }
    }
}

/// What a walk over an object's checksums has found.
#[derive(Default)]
struct Compared {
    bytes: u64,
    changed: Vec<String>,
}

impl Compared {
    fn look(&mut self, object: &Object, title: &str) -> Result<()> {
        let id = object.id();
        let fits = self.compare(object.pin(), id, || match object.stored_kind() {
            Stored::Batch => columns(object, title, |layout, column, at| layout.sum_fits(column, at) == Some(false)),
            _ => vec![title.to_owned()],
        })?;
        match object.stored_kind() {
            Stored::Batch => {
                for k in 0..object.parts() {
                    let part = object.pin().part(id, k)?;
                    let inside = |layout: &Layout<'_>, column, _| layout.lies_in(column, k as u32 + 1);
                    self.compare(object.pin(), part, || columns(object, title, inside))?;
                }
            }
            // The names of a bundle that has changed are another's.
            Stored::Bundle if fits => {
                let bundle = Bundled::try_from(object.clone())?;
                for (k, name) in bundle.names().enumerate() {
                    self.look(&object.part(k as u64)?, &format!("member `{name}` of {title}"))?;
                }
            }
            Stored::Table | Stored::Bundle => {
                for k in 0..object.parts() {
                    self.look(&object.part(k)?, &format!("batch {k} of {title}"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares one object's checksum; `titles` says what its bytes are.
    fn compare(&mut self, pin: &Pin, id: Id, titles: impl FnOnce() -> Vec<String>) -> Result<bool> {
        let Some([stored, found]) = pin.sums(id)? else { return Ok(true) };
        self.bytes += pin.nbytes(id)?;
        if stored != found {
            let so = format!("not as published: checksum {found:#018x}, then {stored:#018x}");
            self.changed.extend(titles().into_iter().map(|title| format!("{title} is {so}")));
        }
        Ok(stored == found)
    }
}

/// Which columns of a batch are concerned; if none of them is, it is the batch's descriptor.
fn columns(object: &Object, title: &str, concerned: impl Fn(&Layout<'_>, usize, u64) -> bool) -> Vec<String> {
    let named = || {
        let body = object.body()?;
        let layout = Layout::parse(body)?;
        let at = object.extents()?[0].offset;
        let fields = layout.schema()?;
        let all = fields.fields().iter().enumerate().filter(|(i, _)| concerned(&layout, *i, at));
        Ok::<_, Error>(all.map(|(_, field)| format!("column `{}` of {title}", field.name())).collect::<Vec<_>>())
    };
    named().ok().filter(|columns| !columns.is_empty()).unwrap_or_else(|| vec![format!("the descriptor of {title}")])
}

/// Reads every object of the arena that somebody keeps, whole, and tells which cannot be read, or has changed.
fn unreadable(at: &Arc<Attachment>) -> Result<Vec<Violation>> {
    let core = at.core()?;
    let names: HashMap<Id, String> = core.names()?.into_iter().map(|named| (named.id, named.name)).collect();
    let title = |id: Id| match (names.get(&id), core.life(id, SeqCst).state()) {
        (Some(name), _) => format!("`{name}`"),
        (None, Some(State::Home(home))) if names.contains_key(&home.container) => {
            format!("{id}, an item of `{}`", names[&home.container])
        }
        _ => id.to_string(),
    };
    let values = [Stored::Batch, Stored::Table, Stored::Bundle, Stored::Array, Stored::Bytes];
    let mut all = vec![];
    for zone in &core.geo.zones {
        for id in (0..core.used(zone)).map(|slot| zone.id(slot)) {
            // What else there is has no values: its words are the rules' matter.
            if !core.seen_kind(id).is_ok_and(|kind| values.contains(&kind)) {
                continue;
            }
            let Some(pin) = Pin::kept(at, id)? else { continue };
            let mut compared = Compared::default();
            let object = Object::pinned(pin, "");
            if let Err(error) = object.and_then(|object| {
                compared.look(&object, &title(id))?;
                object.read_all()
            }) {
                all.push(Violation { rule: "value", what: format!("{} cannot be read: {error}", title(id)) });
            }
            all.extend(compared.changed.into_iter().map(|what| Violation { rule: "checksum", what }));
        }
    }
    Ok(all)
}

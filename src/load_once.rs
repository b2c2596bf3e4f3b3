//! Load once: a value that one process makes, and all others wait for.

use std::time::{Duration, Instant};

use crate::core::maker::{Loaded, Making};
use crate::core::wait::Until;
use crate::error::{Error, Result, in_time};
use crate::input::Value;
use crate::reader::Object;
use crate::value::view::{Attachment, Pin};
use crate::writer::Writer;

/// The right to make what a name will stand for, given up when it is dropped: also when the maker's function panics.
struct Maker<'a> {
    at: &'a Attachment,
    making: Making,
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        if let Ok(core) = self.at.core() {
            core.end_making(self.making);
        }
    }
}

impl Writer {
    /// Returns the current object of `name`. If there is none, calls `make` and publishes what it returns; of all processes
    /// that ask at the same time, one is the *maker*, and the others wait for it.
    ///
    /// While the maker lives, nobody else makes the value, whatever happens to the name meanwhile: a maker that is stopped is
    /// waited for. If `make` fails or panics, or the maker dies, one of those who wait becomes the maker. A name whose
    /// object was removed is made again by the next who asks.
    ///
    /// If another process publishes something under `name` with [`Writer::publish`] before `make` returns, that stays, and is
    /// returned: what was made is dropped.
    ///
    /// `make` must not ask for `name` itself, because it would wait for itself.
    ///
    /// # Errors
    ///
    /// What `make` returns; those of [`Writer::publish`].
    ///
    /// ```
    /// # use faretra::{Arena, Error, MIB};
    /// # let name = format!("doc-get-or-publish-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let writer = arena.writer()?;
    /// let weights = writer.get_or_publish("weights", || Ok::<_, Error>("loaded from afar"))?;
    /// assert_eq!(weights.bytes()?, b"loaded from afar");
    /// let again = writer.get_or_publish("weights", || -> faretra::Result<&str> { unreachable!("it is there") })?;
    /// assert_eq!(again.version(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_or_publish<'a, V, E>(&self, name: &str, make: impl FnOnce() -> Result<V, E>) -> Result<Object, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        self.load(name, Until::Forever, make)
    }

    /// Returns the current object of `name`, or makes and publishes it as [`Writer::get_or_publish`] does. Returns `None`
    /// if another process is making it now.
    pub fn try_get_or_publish<'a, V, E>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Option<Object>, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        let core = self.attachment().core()?;
        match in_time(self.attachment().with_room(|| core.load_once(name, Until::Now)))? {
            Some(loaded) => self.loaded(name, loaded, make).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the current object of `name`, or makes and publishes it as [`Writer::get_or_publish`] does. Fails with
    /// [`Error::TimedOut`] if another process is still making it after `timeout`. The time that `make` takes in this process
    /// does not count.
    pub fn get_or_publish_timeout<'a, V, E>(
        &self,
        name: &str,
        timeout: Duration,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Object, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        self.load(name, Until::Within(timeout), make)
    }

    /// Returns the current object of `name`, or makes and publishes it as [`Writer::get_or_publish`] does. Fails with
    /// [`Error::TimedOut`] if another process is still making it at `deadline`. The time that `make` takes in this process
    /// does not count.
    pub fn get_or_publish_deadline<'a, V, E>(
        &self,
        name: &str,
        deadline: Instant,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Object, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        self.load(name, Until::deadline(deadline), make)
    }

    fn load<'a, V, E>(&self, name: &str, until: Until, make: impl FnOnce() -> Result<V, E>) -> Result<Object, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        let core = self.attachment().core()?;
        let until = until.started();
        let loaded = self.attachment().with_room(|| core.load_once(name, until))?;
        self.loaded(name, loaded, make)
    }

    fn loaded<'a, V, E>(&self, name: &str, loaded: Loaded, make: impl FnOnce() -> Result<V, E>) -> Result<Object, E>
    where
        V: Into<Value<'a>>,
        E: From<Error>,
    {
        let at = self.attachment();
        let making = match loaded {
            Loaded::There(id) => return Ok(Object::pinned(Pin::taken(at, id), name)?),
            Loaded::Make(making) => making,
        };
        let _maker = Maker { at, making };
        let made = make()?;
        Ok(self.publish_if_absent(name, made.into())?)
    }

    /// Publishes a value, if nobody else has published one meanwhile, and returns what there is.
    fn publish_if_absent(&self, name: &str, value: Value<'_>) -> Result<Object> {
        let at = self.attachment();
        let mut sheet = self.build(value)?;
        // Pinned before it is published: it may be removed right after that.
        let own = sheet.pinned()?;
        loop {
            match at.with_room(|| sheet.publish(name, Some(0))) {
                Ok(_) => return Object::pinned(own, name),
                Err(Error::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
            if let Some(pin) = Pin::named(at, name)? {
                return Object::pinned(pin, name);
            }
        }
    }
}

//! The arenas that are served, and what names in them stand for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_flight::{FlightDescriptor, flight_descriptor::DescriptorType};
use arrow_schema::SchemaRef;
use faretra::feed::Start;
use faretra::{Arena, Bundled, Error, Kind, Object, SubscriberError, Table};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::error::{of_arena, told};
use crate::kept::Kept;
use crate::place::Place;

/// Objects that infos keep for whom they were given to.
const MOST_KEPT: usize = 4096;

/// An arena that is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) arena: Arena,
    place: Option<Place>,
}

/// The arenas of a server.
#[derive(Debug)]
pub(crate) struct Shelf {
    arenas: Vec<Served>,
    kept: Kept<Ticket, Table>,
    snapshots: AtomicU64,
}

/// What a ticket says: an object, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ticket {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arena: Option<String>,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
}

/// A name in an arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) served: &'a Served,
    pub(crate) name: &'a str,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A batch or table, pinned.
    Table(Table),
    /// What a feed holds now.
    Snapshot(Table),
    /// A feed, from an item on.
    Feed(String, Start, SchemaRef),
}

/// What the metadata of an info says.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<u64>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<f64>,
}

/// Batches as they come.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch, Status>>;

impl Shelf {
    /// Serves these arenas, and keeps what infos speak of for a time.
    pub(crate) fn new(arenas: Vec<Arena>, time: Duration, in_place: bool) -> Shelf {
        let served = |arena: Arena| Served { place: Place::of(&arena).filter(|_| in_place), arena };
        // What an earlier server gave out under these numbers is not taken for this one's.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        Shelf {
            arenas: arenas.into_iter().map(served).collect(),
            kept: Kept::new(time, MOST_KEPT),
            snapshots: AtomicU64::new(started),
        }
    }

    /// The arenas.
    pub(crate) fn arenas(&self) -> &[Served] {
        &self.arenas
    }

    /// Lets go of what nobody asked for in time.
    pub(crate) fn sweep(&self) {
        self.kept.sweep();
    }

    /// How long what an info speaks of is kept.
    pub(crate) fn time(&self) -> Duration {
        self.kept.time()
    }

    /// The arena of this name, or the only one.
    pub(crate) fn arena(&self, name: Option<&str>) -> Result<&Served, Status> {
        let known =
            || self.arenas.iter().map(|served| format!("`{}`", served.arena.name())).collect::<Vec<_>>().join(", ");
        match (name, self.arenas.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Status::invalid_argument(format!("name an arena too: here are {}", known()))),
            (Some(name), all) => all.iter().find(|served| served.arena.name() == name).ok_or_else(|| {
                told(Code::NotFound, format_args!("arena `{name}` is not served here, but {}", known()))
            }),
        }
    }

    /// What a path says: an arena and a name, or a name in the only arena.
    pub(crate) fn path<'a>(&'a self, path: &'a [String]) -> Result<Named<'a>, Status> {
        let (served, name) = match path {
            [name] => (self.arena(None)?, name),
            [arena, name] => (self.arena(Some(arena))?, name),
            _ => {
                return Err(told(
                    Code::InvalidArgument,
                    format_args!("a path has an arena and a name, or a name, not {} parts: {path:?}", path.len()),
                ));
            }
        };
        Ok(Named { served, name })
    }

    /// What a descriptor says, if it is a path.
    pub(crate) fn descriptor<'a>(&'a self, descriptor: &'a FlightDescriptor) -> Result<Named<'a>, Status> {
        match descriptor.r#type() {
            DescriptorType::Path => self.path(&descriptor.path),
            _ => Err(Status::invalid_argument(
                "the command is neither one of Flight SQL nor one of Faretra's: name an object by a path",
            )),
        }
    }

    /// The path of a name, as a descriptor.
    pub(crate) fn descriptor_of(&self, named: Named<'_>) -> FlightDescriptor {
        let arena = (self.arenas.len() > 1).then(|| named.served.arena.name().to_owned());
        FlightDescriptor::new_path(arena.into_iter().chain([named.name.to_owned()]).collect())
    }

    /// A ticket for what was found under a name. What it speaks of is kept for a while if `keep` says so.
    pub(crate) fn ticket(&self, named: Named<'_>, found: &Found, keep: bool) -> Ticket {
        let version = match found {
            Found::Table(table) => table.object().map(Object::version),
            Found::Snapshot(_) => Some(self.snapshots.fetch_add(1, Ordering::Relaxed)),
            Found::Feed(..) => None,
        };
        let arena = Some(named.served.arena.name().to_owned());
        let ticket = Ticket { arena, name: named.name.to_owned(), version };
        if let (Found::Table(table) | Found::Snapshot(table), true) = (found, keep) {
            self.kept.insert(ticket.clone(), table.clone());
        }
        ticket
    }

    /// What a ticket stands for: the version that it names, or an error.
    pub(crate) fn redeem(&self, ticket: &Ticket) -> Result<(Arena, Found), Status> {
        let served = self.arena(ticket.arena.as_deref())?;
        let arena = served.arena.clone();
        let full = Ticket { arena: Some(arena.name().to_owned()), ..ticket.clone() };
        if let Some(table) = self.kept.get(&full) {
            return Ok((arena, Found::Table(table)));
        }
        let named = Named { served, name: &ticket.name };
        let gone = |now: &str| {
            let (version, secs) = (ticket.version.unwrap_or_default(), self.kept.time().as_secs());
            told(
                Code::NotFound,
                format_args!(
                    "`{}` {now}, and version {version} is not kept any more: what an info speaks of is kept for {secs} s after \
                     it was last asked for; ask for its info again",
                    ticket.name
                ),
            )
        };
        let found = match (named.find(), ticket.version) {
            (Err(e), Some(_)) if e.code() == Code::NotFound => return Err(gone("was removed")),
            (other, _) => other?,
        };
        match (&found, ticket.version) {
            (_, None) => Ok((arena, found)),
            (Found::Table(table), Some(version)) => match table.object().map(Object::version) {
                Some(now) if now == version => Ok((arena, found)),
                now => Err(gone(&format!("is at version {} by now", now.unwrap_or_default()))),
            },
            (Found::Snapshot(_), Some(_)) => Err(gone("is a snapshot")),
            (Found::Feed(..), Some(_)) => Err(gone("is a feed by now")),
        }
    }

    /// The location of a table for processes of this host.
    pub(crate) fn location(&self, named: Named<'_>, found: &Found) -> Option<String> {
        let Found::Table(table) = found else { return None };
        let version = table.object()?.version();
        // A version that is current has this name, with or without its number; members of bundles have none of their own.
        let is_current = |name: &&str| named.served.arena.get(name).is_ok_and(|now| now.version() == version);
        let without = named.name.strip_suffix(&format!("@{version}"));
        let name = Some(named.name).filter(is_current).or_else(|| without.filter(is_current))?;
        named.served.place.as_ref()?.location(name, version)
    }
}

impl Served {
    /// Names that are streamed: of batches, tables and feeds, and members of bundles that are tables.
    pub(crate) fn names(&self) -> Result<Vec<String>, Status> {
        let mut names = vec![];
        for entry in self.arena.names().map_err(|e| of_arena(&e))? {
            match entry.kind {
                Kind::Batch | Kind::Table | Kind::Feed => names.push(entry.name),
                Kind::Bundle => {
                    let Some(bundle) = bundle(&self.arena, &entry.name)? else { continue };
                    let is_table = |member: &str| {
                        bundle.get(member).is_ok_and(|object| matches!(object.kind(), Kind::Batch | Kind::Table))
                    };
                    let members = bundle.names().filter(|member| is_table(member));
                    names.extend(members.map(|member| format!("{}/{member}", entry.name)));
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

impl Named<'_> {
    /// What the name stands for now.
    pub(crate) fn find(&self) -> Result<Found, Status> {
        let (arena, name) = (&self.served.arena, self.name);
        match arena.get(name) {
            Ok(object) => return self.of(object),
            Err(Error::NotFound { .. } | Error::Invalid(_) | Error::TooLarge { .. }) => {}
            Err(e) => return Err(of_arena(&e)),
        }
        if let Some((base, suffix)) = name.rsplit_once('@').filter(|(base, _)| !base.is_empty()) {
            match (suffix, suffix.parse::<u64>()) {
                ("new", _) => return feed(arena, base, Start::Newest),
                ("snapshot", _) => return arena.snapshot(base).map(Found::Snapshot).map_err(|e| of_arena(&e)),
                (_, Ok(version)) => {
                    if let Found::Table(table) = (Named { name: base, ..*self }).find()? {
                        return match table.object().map(Object::version) {
                            Some(now) if now == version => Ok(Found::Table(table)),
                            now => Err(told(
                                Code::NotFound,
                                format_args!(
                                    "`{base}` is at version {}, and version {version} cannot be read any more",
                                    now.unwrap_or_default()
                                ),
                            )),
                        };
                    }
                }
                _ => {}
            }
        }
        for (at, _) in name.match_indices('/') {
            let Some(bundle) = bundle(arena, &name[..at])? else { continue };
            let member = &name[at + 1..];
            if bundle.names().any(|known| known == member) {
                return self.of(bundle.get(member).map_err(|e| of_arena(&e))?);
            }
        }
        Err(told(Code::NotFound, format_args!("no object named `{name}` in arena `{}`", arena.name())))
    }

    fn of(&self, object: Object) -> Result<Found, Status> {
        match object.kind() {
            Kind::Batch | Kind::Table => object.table().map(Found::Table).map_err(|e| of_arena(&e)),
            Kind::Feed => feed(&self.served.arena, self.name, Start::Oldest),
            Kind::Bundle => {
                let bundle = object.bundle().map_err(|e| of_arena(&e))?;
                let members = bundle.names().map(|member| format!("`{}/{member}`", self.name)).collect::<Vec<_>>();
                Err(told(
                    Code::InvalidArgument,
                    format_args!("`{}` is a bundle: name one of its members, {}", self.name, members.join(", ")),
                ))
            }
            kind => Err(told(
                Code::InvalidArgument,
                format_args!(
                    "`{}` is of kind {kind}: batches, tables, members of bundles and feeds are streamed",
                    self.name
                ),
            )),
        }
    }
}

fn bundle(arena: &Arena, name: &str) -> Result<Option<Bundled>, Status> {
    match arena.get(name) {
        Ok(object) if object.kind() == Kind::Bundle => object.bundle().map(Some).map_err(|e| of_arena(&e)),
        Ok(_) | Err(Error::NotFound { .. } | Error::Invalid(_) | Error::TooLarge { .. }) => Ok(None),
        Err(e) => Err(of_arena(&e)),
    }
}

fn feed(arena: &Arena, name: &str, start: Start) -> Result<Found, Status> {
    let object = arena.get(name).map_err(|e| of_arena(&e))?;
    if object.kind() != Kind::Feed {
        return Err(told(Code::InvalidArgument, format_args!("`{name}` is of kind {}, not feed", object.kind())));
    }
    match object.schema().map_err(|e| of_arena(&e))? {
        Some(schema) => Ok(Found::Feed(name.to_owned(), start, schema)),
        None => Err(told(
            Code::FailedPrecondition,
            format_args!(
                "the feed `{name}` has no schema: nothing was appended to it yet, or its contents are mixed; ask again when \
                 batches of one schema were appended"
            ),
        )),
    }
}

impl Found {
    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        match self {
            Found::Table(table) | Found::Snapshot(table) => table.schema(),
            Found::Feed(_, _, schema) => schema.clone(),
        }
    }

    /// Rows and bytes, where there is an end of them.
    pub(crate) fn size(&self) -> (i64, i64) {
        match self {
            Found::Table(table) | Found::Snapshot(table) => (table.num_rows() as i64, table.nbytes() as i64),
            Found::Feed(..) => (-1, -1),
        }
    }

    /// What an info has no field for, as JSON.
    pub(crate) fn facts(&self) -> Facts {
        let (kind, table) = match self {
            Found::Table(table) => ("table", table),
            Found::Snapshot(table) => ("snapshot", table),
            Found::Feed(..) => return Facts { kind: "feed", batches: None, published: None },
        };
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let published = table.object().map(|object| since(object.published()));
        Facts { kind, batches: Some(table.num_batches()), published }
    }

    /// The batches, read one at a time, when they are asked for.
    pub(crate) fn batches(self, arena: &Arena) -> Result<Batches, Status> {
        match self {
            Found::Table(table) | Found::Snapshot(table) => Ok(of_table(table)),
            Found::Feed(name, start, schema) => {
                let subscriber = arena.subscribe(&name, start).map_err(|e| of_arena(&e))?;
                let items =
                    stream::try_unfold((subscriber, schema, name), |(mut subscriber, schema, name)| async move {
                        let object = match subscriber.recv_async().await {
                            Ok(object) => object,
                            Err(SubscriberError::Closed { clean: true }) => return Ok(None),
                            Err(SubscriberError::Failed(e)) => return Err(of_arena(&e)),
                            Err(e) => return Err(told(Code::Aborted, format_args!("the feed `{name}`: {e}"))),
                        };
                        let kind = object.kind();
                        let table = object.table().map_err(|_| {
                            told(
                                Code::FailedPrecondition,
                                format_args!("an item of `{name}` is of kind {kind}, no batch"),
                            )
                        })?;
                        if table.schema().fields() != schema.fields() {
                            let text =
                                format!("an item of `{name}` has other columns than the stream: ask for it again");
                            return Err(told(Code::Aborted, text));
                        }
                        Ok(Some((of_table(table), (subscriber, schema, name))))
                    });
                Ok(items.map(|item| item.unwrap_or_else(|e| stream::iter([Err(e)]).boxed())).flatten().boxed())
            }
        }
    }
}

/// The batches of a table. Values are checked when a batch is first read, which may take a while: not on the threads that serve.
fn of_table(table: Table) -> Batches {
    let batches = table.num_batches();
    let table = Arc::new(table);
    stream::iter(0..batches)
        .then(move |index| {
            let table = Arc::clone(&table);
            async move {
                let read = move || table.batch(index).map(|batch| batch.record_batch().clone());
                match tokio::task::spawn_blocking(read).await {
                    Ok(batch) => batch.map_err(|e| of_arena(&e)),
                    Err(e) => Err(told(Code::Internal, format_args!("a batch could not be read: {e}"))),
                }
            }
        })
        .boxed()
}

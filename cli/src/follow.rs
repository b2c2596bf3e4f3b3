//! cat --follow: the batches of a feed, printed as they come.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::feed::{Start, Subscriber, WhenDeserted};
use faretra::{Arena, Error, Kind, Object, SubscriberError};

use crate::args::{Cat, CatFormat, Cli, From};
use crate::channels::{Named, look_instead};
use crate::failure::{Failure, Result, note, note_once};
use crate::rows::Printer;
use crate::signal::{self, SLICE};
use crate::values::{batches, chosen, pieces};
use crate::{open, out, size};

/// `faretra cat --follow`
pub fn follow(cli: &Cli, args: &Cat) -> Result<()> {
    let default = if cli.json { CatFormat::Json } else { CatFormat::Table };
    let format = args.format.unwrap_or(default);
    let arena = open::open(cli, &args.arena)?;
    let subscriber = subscribe(&arena, args)?;
    let named = Named::new(&arena, &args.name, Kind::Feed)?;
    let mut feed = Followed { args, named, subscriber };
    leave_words(args, feed.subscriber.position());
    follow_from(&arena, &mut feed, format)
}

/// Leaves ahead what is said when a signal ends this: of an item that was printed in part, all comes
/// again.
fn leave_words(args: &Cat, printed: u64) {
    signal::last_words(format!(
        "`faretra cat {} {} --follow --from {printed}` goes on with what was not printed",
        args.arena, args.name
    ));
}

fn follow_from(arena: &Arena, feed: &mut Followed<'_>, format: CatFormat) -> Result<()> {
    let args = feed.args;
    let mut printer = Printer::new(format, "");
    let mut left = args.head.unwrap_or(usize::MAX);
    while left > 0 {
        let Some(item) = feed.next()? else { break };
        let (schema, batches) = rows(args, item, feed.subscriber.position() - 1)?;
        let batches: Vec<RecordBatch> = pieces(&batches, left, usize::MAX).collect();
        left -= batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        printer.print(&schema, &batches)?;
        leave_words(args, feed.subscriber.position());
    }
    printer.finish(|| {
        let schema = arena.snapshot(&args.name).ok()?.schema();
        chosen(schema, vec![], &args.columns).ok().map(|(schema, _)| schema)
    })
}

fn rows(args: &Cat, item: Object, position: u64) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let kind = item.kind();
    if !matches!(kind, Kind::Batch | Kind::Table) {
        return Err(Failure::new(format!(
            "item {position} of the feed is {kind}, which has no rows to print: programs read it with the library; \
             `--from {}` goes on behind it",
            position + 1
        )));
    }
    let (schema, batches) = batches(item)?;
    chosen(schema, batches, &args.columns)
}

/// Subscribes, as soon as there is such a feed.
fn subscribe(arena: &Arena, args: &Cat) -> Result<Subscriber> {
    let start = match args.from {
        None | Some(From::Oldest) => Start::Oldest,
        Some(From::Newest) => Start::Newest,
        Some(From::Position(position)) => Start::Position(position),
    };
    let mut found = arena.subscribe_timeout(&args.name, start, SLICE);
    loop {
        match found {
            Ok(subscriber) => return Ok(subscriber),
            Err(Error::TimedOut(_)) => {
                note_once(format_args!("waiting: arena `{0}` has no feed `{1}` yet", args.arena, args.name));
            }
            Err(Error::Mismatch { .. }) => match arena.get(&args.name) {
                Ok(object) if object.kind() != Kind::Feed => return Err(no_feed(args, object.kind())),
                // Changed since.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        signal::check()?;
        found = arena.subscribe_wait(&args.name, start);
    }
}

/// The failure of following what is no feed, which names the verb for it.
fn no_feed(args: &Cat, kind: Kind) -> Failure {
    let instead = look_instead(&args.arena, &args.name, kind);
    Failure::new(format!("`{}` is a {kind}, and --follow is for feeds: use `faretra {instead}`", args.name))
}

/// A feed that is followed.
struct Followed<'a> {
    args: &'a Cat,
    named: Named,
    subscriber: Subscriber,
}

impl Followed<'_> {
    /// The next item; `None` when the feed is closed, and this was all.
    fn next(&mut self) -> Result<Option<Object>> {
        loop {
            match self.subscriber.recv_timeout(SLICE) {
                Ok(item) => return Ok(Some(item)),
                Err(SubscriberError::Closed { clean: true }) => return Ok(None),
                Err(SubscriberError::Closed { .. }) => {
                    note_once(format_args!(
                        "waiting: the last producer of feed `{}` left or died without closing it; another one may \
                         come, and Ctrl-C ends this",
                        self.args.name
                    ));
                    self.subscriber.set_when_deserted(WhenDeserted::Block);
                }
                Err(SubscriberError::Lagged(items)) => note(format_args!(
                    "missed {} that the feed `{}` keeps no longer; going on with the oldest that is there",
                    size::plural(items, "item"),
                    self.args.name
                )),
                Err(SubscriberError::TimedOut | SubscriberError::Empty | SubscriberError::Interrupted) => {}
                Err(SubscriberError::Failed(error)) => return Err(error.into()),
                Err(error) => return Err(Failure::new(error)),
            }
            signal::check()?;
            if out::reader_gone() {
                return Err(Failure::new("nobody reads what is printed"));
            }
            self.named.check()?;
        }
    }
}

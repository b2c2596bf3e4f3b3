//! Actions: what an arena is used for, who takes part in it, and taking names away. JSON in, JSON out.

use std::time::UNIX_EPOCH;

use arrow_flight::{Action, ActionType};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::error::{of_arena, told};
use crate::put::writer;
use crate::served::Shelf;

/// Action, and what it does.
const ALL: [(&str, &str); 3] = [
    ("stat", "What an arena's memory is used for. Body: empty, or {\"arena\": NAME}. Result: JSON"),
    ("who", "Who takes part in an arena, and what each keeps. Body: as of stat. Result: a JSON array"),
    ("rm", "Removes a name. Body: {\"arena\": NAME, \"name\": NAME}. Result: {\"removed\": whether it was there}"),
];

/// What the body of an action says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    arena: Option<String>,
    name: Option<String>,
}

/// The actions of arenas, as clients list them.
pub(crate) fn types() -> impl Iterator<Item = ActionType> {
    ALL.into_iter().map(|(name, what)| ActionType { r#type: name.to_owned(), description: what.to_owned() })
}

/// Does one.
pub(crate) async fn act(shelf: &Shelf, action: &Action, read_only: bool) -> Result<Value, Status> {
    let on: On = match action.body.is_empty() {
        true => On::default(),
        false => serde_json::from_slice(&action.body).map_err(|e| {
            told(Code::InvalidArgument, format_args!("the body of `{}` is no JSON of the action: {e}", action.r#type))
        })?,
    };
    let arena = &shelf.arena(on.arena.as_deref())?.arena;
    match action.r#type.as_str() {
        "stat" => {
            let stats = arena.stats().map_err(|e| of_arena(&e))?;
            Ok(json!({
                "arena": arena.name(),
                "capacity": stats.capacity, "limit": stats.limit, "used": stats.used, "live": stats.live, "warm": stats.warm,
                "metadata": stats.metadata, "names": stats.names, "objects": stats.objects,
                "participants": stats.participants, "writers": stats.writers, "writers_busy": stats.writers_busy,
            }))
        }
        "who" => {
            let who = arena.who().map_err(|e| of_arena(&e))?;
            let seconds =
                |holder: &faretra::Holder| holder.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let one = |holder: &faretra::Holder| {
                json!({
                    "pid": holder.pid, "command": holder.command, "alive": holder.alive, "stopped": holder.stopped,
                    "since": seconds(holder), "this_server": holder.this_process,
                    "pins": holder.pins, "pinned_bytes": holder.pinned_bytes, "only_pinned_bytes": holder.only_pinned_bytes,
                    "drafts": holder.drafts, "draft_bytes": holder.draft_bytes, "permits": holder.permits,
                    "holds": holder.holds, "waits_for": holder.waits_for,
                })
            };
            Ok(who.iter().map(one).collect())
        }
        "rm" if read_only => Err(Status::permission_denied("this server was started with --read-only")),
        "rm" => {
            let name = on.name.ok_or_else(|| Status::invalid_argument("`rm` needs a name: {\"name\": NAME}"))?;
            let removed = writer(arena).await?.remove(&name).map_err(|e| of_arena(&e))?;
            Ok(json!({ "removed": removed }))
        }
        other => Err(told(Code::InvalidArgument, format_args!("there is no action `{other}`"))),
    }
}

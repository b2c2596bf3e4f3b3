//! Batches on their way to a client, one message at a time.

use arrow_schema::SchemaRef;
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::Status;

use crate::encode::{Encoder, Message};
use crate::served::Batches;

/// Messages on their way to a client.
pub(crate) type Messages = BoxStream<'static, Result<Message, Status>>;

/// The messages of some batches, made when the client has room for them.
pub(crate) fn messages(schema: &SchemaRef, batches: Batches, limit: usize) -> Result<Messages, Status> {
    let (encoder, first) = Encoder::new(schema, limit)?;
    let rest = stream::try_unfold((encoder, batches, None), |(mut encoder, mut batches, mut pieces)| async move {
        loop {
            if let Some(current) = &mut pieces
                && let Some(message) = encoder.next(current)?
            {
                return Ok(Some((message, (encoder, batches, pieces))));
            }
            let Some(batch) = batches.next().await.transpose()? else { return Ok(None) };
            pieces = Some(encoder.start(batch)?);
        }
    });
    Ok(stream::iter([Ok(first)]).chain(rest).boxed())
}

//! What a statement gives, batch by batch as the engine makes them, until somebody wants no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use faretra_cli::sql::{Failure, Result, SLICE};
use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// The stack of a thread that plans and runs, of which pages in use alone cost memory: deep expressions recurse.
const STACK: usize = 512 << 20;

/// How long a statement that is cancelled has to let go of what it holds.
const GRACE: Duration = Duration::from_millis(200);

/// The threads that statements run on.
pub struct Engine {
    runtime: Option<Runtime>,
}

impl Engine {
    /// As many threads as the machine has cores.
    pub fn new() -> Result<Engine> {
        let runtime = Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
        let runtime = runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
        Ok(Engine { runtime: Some(runtime) })
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| Failure::new("the engine has ended"))
    }

    /// Notes each SIGINT in the flag instead of ending the process.
    pub fn note_interrupts(&self, flag: &Arc<AtomicBool>) -> Result<()> {
        let runtime = self.runtime()?;
        let failed = |error| Failure::new(format!("cannot handle signals: {error}"));
        let _context = runtime.enter();
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(failed)?;
        let flag = Arc::clone(flag);
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Ok(())
    }

    /// Does some work with an end on the engine's threads; `go_on` is asked meanwhile.
    pub fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<T> {
        let runtime = self.runtime()?;
        let mut task = runtime.spawn(work);
        loop {
            if let Ok(done) = runtime.block_on(async { timeout(SLICE, &mut task).await }) {
                return done.map_err(gave_up)?;
            }
            if let Err(stopped) = go_on() {
                cancel(runtime, task);
                return Err(stopped);
            }
        }
    }

    /// Starts a statement; its rows are made when they are asked for, one batch ahead.
    pub fn start(
        &self,
        stream: SendableRecordBatchStream,
        in_words: fn(datafusion::error::DataFusionError) -> Failure,
    ) -> Result<Rows<'_>> {
        let runtime = self.runtime()?;
        let schema = stream.schema();
        let (sender, receiver) = channel(1);
        let task = runtime.spawn(produce(stream, sender, in_words));
        Ok(Rows { runtime, schema, receiver, task: Some(task) })
    }
}

impl Drop for Engine {
    /// Waits for nothing: what still runs was cancelled.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn produce(
    mut stream: SendableRecordBatchStream,
    sender: Sender<Result<RecordBatch>>,
    in_words: fn(datafusion::error::DataFusionError) -> Failure,
) {
    while let Some(batch) = stream.next().await {
        // Nobody wants more when this fails.
        if sender.send(batch.map_err(in_words)).await.is_err() {
            return;
        }
    }
}

/// The rows of a statement that runs.
pub struct Rows<'a> {
    runtime: &'a Runtime,
    schema: SchemaRef,
    receiver: Receiver<Result<RecordBatch>>,
    task: Option<JoinHandle<()>>,
}

/// What comes next.
pub enum Next {
    /// More rows.
    Batch(RecordBatch),
    /// Nothing for the moment.
    Idle,
    /// Nothing any more.
    End,
}

impl Rows<'_> {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns what comes within a moment.
    pub fn next(&mut self) -> Result<Next> {
        let (runtime, receiver) = (self.runtime, &mut self.receiver);
        match runtime.block_on(async { timeout(SLICE, receiver.recv()).await }) {
            Ok(Some(batch)) => Ok(Next::Batch(batch?)),
            Err(_) => Ok(Next::Idle),
            Ok(None) => match self.task.take() {
                Some(task) => runtime.block_on(task).map_err(gave_up).map(|()| Next::End),
                None => Ok(Next::End),
            },
        }
    }

    /// Whether the next batch is there already.
    pub fn ready(&self) -> bool {
        !self.receiver.is_empty()
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Some(task) = self.task.take() {
            cancel(self.runtime, task);
        }
    }
}

/// Stops a task at its next pause, and gives it a moment to release what it has in arenas.
fn cancel<T>(runtime: &Runtime, task: JoinHandle<T>) {
    task.abort();
    // One that goes on for longer ends with its next pause, or with the process.
    drop(runtime.block_on(async { timeout(GRACE, task).await }));
}

/// The failure of a task that panicked.
fn gave_up(error: JoinError) -> Failure {
    Failure::new(format!("the engine gave up: {error}"))
}

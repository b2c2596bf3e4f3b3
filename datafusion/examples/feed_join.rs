//! A feed joined to a table, in SQL, while the feed grows: each order that a process appends comes out with the name and price of its
//! item, as soon as it is there.
//!
//! ```text
//! cargo run -p faretra-datafusion --example feed_join
//! ```
//!
//! ```prints
//! order 1: 2 x anchor at 40: 80
//! order 3: 2 x capstan at 80: 160
//! prices doubled: version 2 of `items`
//! order 4: 3 x anchor at 40: 120
//! order 5: 1 x capstan at 80: 80
//! the feed is closed, and so the query ends: 4 orders of 5 that were appended
//! the same query, planned again: 880 and not 440
//! ```
//!
//! * The feed goes through the query row by row; the table is read once, where it lies.
//! * What is read of the table is the version that was current when the query was planned. A later query sees the new one.
//! * From the shell, this is `faretra sql shop "SET datafusion.execution.batch_size = 1; SELECT .. FROM orders JOIN items USING (item)"`.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, MIB};
use futures_util::TryStreamExt;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const ITEMS: [&str; 3] = ["anchor", "buoy", "capstan"];
/// Number, item, pieces. Item 7 is none of the shop's.
const ORDERS: [(i64, i64, i64); 5] = [(1, 0, 2), (2, 7, 1), (3, 2, 2), (4, 0, 3), (5, 2, 1)];
/// Nothing takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

const QUERY: &str = "SELECT number, pieces, name, price, pieces * price AS sum \
                     FROM shop.orders JOIN shop.items USING (item)";

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["order", arena] => order(arena),
        [] => query().await,
        _ => Err("run it without arguments".into()),
    }
}

/// Appends one order after the other, each when the one before was seen at the other end of the query.
fn order(arena: &str) -> Result<()> {
    let arena = Arena::open(arena)?;
    let orders = arena.writer()?.feed("orders", 16, WhenFull::Block)?;
    let seen = arena.event("seen", Reset::Auto)?;
    for (number, item, pieces) in ORDERS {
        let column = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
        let columns = [("number", column(number)), ("item", column(item)), ("pieces", column(pieces))];
        orders.append(RecordBatch::try_from_iter(columns)?)?;
        if (item as usize) < ITEMS.len() {
            seen.wait_timeout(DEADLINE)?;
        }
    }
    Ok(orders.close()?)
}

/// The items of the shop, and what they cost.
fn items(times: i64) -> Result<RecordBatch> {
    let item: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
    let name: ArrayRef = Arc::new(StringArray::from_iter_values(ITEMS));
    let price: ArrayRef = Arc::new(Int64Array::from_iter_values((2..5).map(|price| price * 20 * times)));
    Ok(RecordBatch::try_from_iter([("item", item), ("name", name), ("price", price)])?)
}

async fn query() -> Result<()> {
    let name = format!("feed-join-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;
    writer.publish("items", items(1)?)?;
    let _orders = writer.feed("orders", 16, WhenFull::Block)?;
    let seen = arena.event("seen", Reset::Auto)?;
    let mut other = Other(Command::new(std::env::current_exe()?).args(["order", &name]).spawn()?);
    // A feed has columns once something was appended.
    arena.subscribe("orders", Start::Oldest)?.schema_timeout(DEADLINE)?;

    // A join keeps its rows until it has so many. A query whose rows are wanted as they come asks for few.
    let context = SessionContext::new_with_config(SessionConfig::new().with_batch_size(1));
    faretra_datafusion::register(&context, "shop", &arena)?;
    let mut rows = context.sql(QUERY).await?.execute_stream().await?;
    let (mut orders, mut total) = (0, 0);
    while let Some(batch) = tokio::time::timeout(DEADLINE, rows.try_next()).await?? {
        let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let (name, sum) = (batch.column(2).as_string::<i32>().value(row), number(4, row));
            println!("order {}: {} x {name} at {}: {sum}", number(0, row), number(1, row), number(3, row));
            (orders, total) = (orders + 1, total + sum);
            if number(0, row) == 3 {
                let version = writer.publish("items", items(2)?)?;
                println!("prices doubled: version {version} of `items`");
            }
            // Only now the next one is appended: had the query kept this one back, neither would go on.
            seen.set()?;
        }
    }
    println!(
        "the feed is closed, and so the query ends: {orders} orders of {} that were appended",
        arena.snapshot("orders")?.num_rows()
    );
    let again: i64 = context
        .sql(&QUERY.replace("shop.orders", "shop.\"orders@snapshot\""))
        .await?
        .collect()
        .await?
        .iter()
        .map(|batch| batch.column(4).as_primitive::<Int64Type>().values().iter().sum::<i64>())
        .sum();
    println!("the same query, planned again: {again} and not {total}");
    match other.0.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("the process that orders ended with {status}").into()),
    }
}

/// The other process, which does not outlive this one's `main`.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // It has ended, or is not wanted any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Shows that the queries of TPC-H give over arenas what they give over memory, at scale 0.01. At scale 1: `scale`.

use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Arena, GIB, Value};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// The tables, batch by batch.
pub(crate) fn tables(scale: f64, rows: usize) -> Vec<(&'static str, Vec<RecordBatch>)> {
    vec![
        ("nation", NationArrow::new(NationGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("region", RegionArrow::new(RegionGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("part", PartArrow::new(PartGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("supplier", SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("partsupp", PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("customer", CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("orders", OrderArrow::new(OrderGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
        ("lineitem", LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)).with_batch_size(rows).collect()),
    ]
}

pub(crate) fn queries() -> Vec<&'static str> {
    let all = include_str!("tpch.sql").split_once('\n').expect("a comment").1;
    all.split(';').map(str::trim).filter(|query| !query.is_empty()).collect()
}

/// A session over the arena, and one over the same batches in memory.
fn sessions(scale: f64, rows: usize, partitions: usize) -> (Arena, SessionContext, SessionContext) {
    let name = format!("fusion-tpch-{}", std::process::id());
    let arena = Arena::options().limit(8 * GIB).keep(false).create(&name).unwrap();
    let config = SessionConfig::new().with_target_partitions(partitions);
    let (over_arena, over_memory) =
        (SessionContext::new_with_config(config.clone()), SessionContext::new_with_config(config));
    faretra_datafusion::register(&over_arena, "tpch", &arena).unwrap();
    let writer = arena.writer().unwrap();
    for (name, batches) in tables(scale, rows) {
        let schema = batches[0].schema();
        writer.publish(name, Value::batches(schema, batches.clone())).unwrap();
        over_memory.register_table(name, Arc::new(in_memory(batches, partitions))).unwrap();
    }
    (arena, over_arena, over_memory)
}

/// A table of the engine's own, divided as evenly as an arena's scan divides.
pub(crate) fn in_memory(batches: Vec<RecordBatch>, partitions: usize) -> MemTable {
    let schema = batches[0].schema();
    let each = batches.len().div_ceil(partitions);
    MemTable::try_new(schema, batches.chunks(each).map(<[RecordBatch]>::to_vec).collect()).unwrap()
}

pub(crate) async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    let printed = pretty_format_batches(&batches).expect("printed").to_string();
    printed.lines().map(str::to_owned).collect()
}

pub(crate) async fn in_schema(context: &SessionContext) {
    context.sql("SET datafusion.catalog.default_schema = 'tpch'").await.unwrap().collect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_queries_give_what_they_give_over_memory() {
    let (_arena, over_arena, over_memory) = sessions(0.01, 5000, 4);
    in_schema(&over_arena).await;
    let queries = queries();
    assert_eq!(queries.len(), 22);
    let mut rows = 0;
    // The second time with bounds that the first has found.
    for _ in 0..2 {
        for (number, sql) in queries.iter().enumerate() {
            let expected = answer(&over_memory, sql).await;
            let got = answer(&over_arena, sql).await;
            rows += got.len();
            assert_eq!(got, expected, "query {}", number + 1);
        }
    }
    assert!(rows > 1000, "{rows} lines: the answers are not empty");
}

//! Shows that queries of TPC-H give over several workers what they give over one session that has all rows.

use arrow_array::RecordBatch;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::support::{Cluster, alone, answer};

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

/// Queries with joins of up to six tables, aggregates and limits, by their numbers.
pub(crate) fn queries() -> Vec<(usize, &'static str)> {
    let all = include_str!("../../../datafusion/tests/it/tpch.sql").split_once('\n').expect("a comment").1;
    let all: Vec<&str> = all.split(';').map(str::trim).filter(|query| !query.is_empty()).collect();
    [1, 3, 5, 9, 18, 21].map(|number| (number, all[number - 1])).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_give_what_they_give_in_one_session() {
    let tables = tables(0.01, 2000);
    let one = alone(&tables);
    let mut expected = vec![];
    for (_, sql) in queries() {
        expected.push(answer(&one, sql).await);
    }
    assert!(expected.iter().map(Vec::len).sum::<usize>() > 100, "the answers are not empty");
    for hosts in [2, 3] {
        let cluster = Cluster::new(hosts, &tables, &[]);
        let session = cluster.session().await;
        for ((number, sql), expected) in queries().iter().zip(&expected) {
            assert_eq!(&answer(&session, sql).await, expected, "query {number} on {hosts} hosts");
        }
    }
}

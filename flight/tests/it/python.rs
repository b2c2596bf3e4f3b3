//! Shows pyarrow's client, and ADBC's driver, where they are installed.

use std::process::Command;

use crate::support::{Lab, table};

/// Runs a program of Python with the server's address, if its modules are there.
fn run(modules: &str, program: &str) {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no {modules} (PYTHON names another one)");
        return;
    }
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("a \"table\"", table(3, 100_000)).unwrap();
    let server = lab.serve(&["air"]);
    let output = Command::new(&python).args(["-c", program, &server.address]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(arena.table("put").unwrap().num_rows(), 300_000);
}

/// Shows that pyarrow lists, reads and puts tables.
#[test]
fn pyarrow() {
    let program = r#"
import sys
import pyarrow.flight as flight
client = flight.connect(sys.argv[1])
assert [info.descriptor.path for info in client.list_flights()] == [[b'a "table"']]
info = client.get_flight_info(flight.FlightDescriptor.for_path('a "table"'))
table = client.do_get(info.endpoints[0].ticket).read_all()
assert table.num_rows == info.total_records == 300_000 and table.schema == info.schema
table.validate(full=True)
assert table["id"].to_pylist() == list(range(300_000))
writer, results = client.do_put(flight.FlightDescriptor.for_path("put"), table.schema)
writer.write_table(table)
writer.done_writing()
assert b'"rows":300000' in results.read().to_pybytes()
writer.close()
"#;
    run("pyarrow.flight", program);
}

/// Shows that ADBC's driver runs queries, tells of tables and ingests rows.
#[test]
fn adbc() {
    let program = r#"
import sys
from adbc_driver_flightsql import dbapi
with dbapi.connect(sys.argv[1], autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute('SELECT * FROM "a ""table""" WHERE id < ?', parameters=(10,))
        assert cursor.fetch_arrow_table().num_rows == 10
        cursor.execute('SELECT * FROM "a ""table"""')
        cursor.adbc_ingest("put", cursor.fetch_arrow_table(), mode="create")
    objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    assert "put" in str(objects)
    assert connection.adbc_get_info()["vendor_name"] == "Faretra"
"#;
    run("adbc_driver_flightsql", program);
}

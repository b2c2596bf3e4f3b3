//! Shows that what cannot be done is one line that says why and what there is, and leaves nothing half done.

use crate::support::{Lab, flights};

/// Shows that names which are not there are told with those that are.
#[test]
fn names() {
    let lab = Lab::new();
    lab.arena("air").writer().unwrap().publish("Flights", flights()).unwrap();
    lab.arena("sea");
    for (query, parts) in [
        ("SELECT * FROM nix", vec!["`nix`", "`air`", "there is `Flights`"]),
        ("SELECT * FROM Flights", vec!["write it \"Flights\""]),
        ("SELECT * FROM sea.ports", vec!["no arena `sea` is open", "faretra sql air,sea"]),
        ("SELECT * FROM 'nix.csv'", vec!["no file `nix.csv`"]),
        ("SELECT * FROM air.sea.x.y", vec![]),
        ("SELECT nope FROM \"Flights\"", vec!["nope", "delay"]),
        ("SELEC 1", vec!["no SQL"]),
        ("SELECT * FROM 'https://example.org/x.parquet'", vec![]),
    ] {
        let why = lab.fails(1, ["air", query]);
        for part in parts {
            assert!(why.contains(part), "{query}: {why}");
        }
    }
    assert!(lab.fails(1, ["sea", "SELECT * FROM nix"]).contains("which has none"));
    assert!(lab.fails(1, ["nix", "SELECT 1"]).contains("faretra create nix"));
    assert_eq!(lab.run(["air,air", "SELECT 1"]).status.code(), Some(2));
}

/// Shows that a text with a statement that is no SQL runs none of them, and one that fails on the way ends what follows and leaves no
/// file.
#[test]
fn statements() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("flights", flights()).unwrap();
    let outcome = lab.run_with(["air"], "DROP TABLE flights; SELEC 1");
    assert_eq!((outcome.status.code(), outcome.text()), (Some(1), ""), "{outcome:?}");
    assert!(arena.table("flights").is_ok());
    let outcome = lab.run_with(
        ["air", "--format", "csv"],
        "SELECT 1 AS a; SELECT CAST(port AS INT) FROM flights; DROP TABLE flights",
    );
    assert_eq!((outcome.status.code(), outcome.text()), (Some(1), "a\n1\n"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(arena.table("flights").is_ok());
    lab.fails(1, ["air", "SELECT CAST(port AS INT) FROM flights", "-o", "x.csv"]);
    lab.fails(1, ["air", "SELECT CAST(port AS INT) AS n FROM flights", "--into", "x"]);
    assert!(!lab.path("x.csv").exists() && arena.get("x").is_err());
}

/// Shows that a limit of memory holds for what statements keep, and that what does not fit is written to files or told.
#[test]
fn memory() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("flights", flights()).unwrap();
    let few = "SELECT port, count(*) AS n FROM flights GROUP BY port ORDER BY port";
    assert_eq!(lab.ok(["air", few, "--memory-limit", "1MiB", "--format", "csv"]), "port,n\nLIS,2\nOPO,1\n");
    let sql = "CREATE TABLE many AS SELECT value AS id, value % 1000 AS key FROM generate_series(1, 300000)";
    lab.ok(["air", sql]);
    let sorted = "SELECT count(*) AS n FROM (SELECT id FROM many ORDER BY key, id OFFSET 5)";
    assert_eq!(lab.ok(["air", sorted, "--memory-limit", "6MiB", "--format", "csv"]), "n\n299995\n");
    // What a join looks up is kept, and not written to files.
    let pairs = "SELECT count(*) FROM many a JOIN many b ON a.id = b.id";
    let why = lab.fails(1, ["air", pairs, "--memory-limit", "64KiB"]);
    assert!(why.contains("raise --memory-limit") && why.contains("KB"), "{why}");
    assert_eq!(lab.run(["air", few, "--memory-limit", "0"]).status.code(), Some(2));
}

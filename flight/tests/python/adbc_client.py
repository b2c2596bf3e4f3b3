"""What ADBC's driver for Flight SQL does: statements, parameters, metadata, ingestion, tokens, TLS.

Arguments: the addresses of three servers of the same arena, which has `a "table"` of 300,000 rows: as it is; with the token `sesame`;
with the certificate in the file that is the last argument.
"""

import sys

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions, dbapi

plain, guarded, secure, certificate = sys.argv[1:]
HEADER = DatabaseOptions.AUTHORIZATION_HEADER.value
TABLE = '"a ""table"""'
COLUMNS = ["id", "text", "number"]


def count(cursor, table):
    cursor.execute(f"SELECT count(*) FROM {table}")
    return cursor.fetchone()[0]


def fails(call, *parts):
    try:
        call()
    except (adbc_driver_manager.Error, pa.ArrowException) as error:
        assert all(part in str(error) for part in parts), (parts, error)
    else:
        raise AssertionError(f"it succeeds: {parts}")


with dbapi.connect(plain, autocommit=True) as connection, connection.cursor() as cursor:
    # A statement: all rows, as Arrow and as Python's.
    cursor.execute(f"SELECT * FROM {TABLE} ORDER BY id")
    table = cursor.fetch_arrow_table()
    assert table.column_names == COLUMNS and table["id"].to_pylist() == list(range(300_000))
    cursor.execute(f"SELECT text, number FROM {TABLE} WHERE id = 3")
    assert cursor.fetchall() == [("text 3", None)]
    fails(lambda: cursor.execute("SELEC 1"), "no SQL")
    fails(lambda: cursor.execute("SELECT * FROM nope"), "nope")

    # Prepared, with parameters of each kind, more than once; and with rows of them.
    for low, high, found in ((0, 10, 10), (299_990, 400_000, 10)):
        cursor.execute(f"SELECT id FROM {TABLE} WHERE id >= ? AND id < ?", parameters=(low, high))
        assert cursor.fetch_arrow_table().num_rows == found
    cursor.execute(f"SELECT id FROM {TABLE} WHERE text = $1", parameters=("text 77",))
    assert cursor.fetchall() == [(77,)]
    cursor.adbc_prepare(f"SELECT id FROM {TABLE} WHERE id = ?")
    # What changes something goes by `executescript`, which waits until it is done: `execute` waits for rows, when they are fetched.
    cursor.executescript(f"CREATE TABLE few AS SELECT * FROM {TABLE} WHERE id < 5")
    cursor.executemany("INSERT INTO few VALUES (?, ?, ?)", [(100, "a", 1.5), (101, None, None)])
    assert count(cursor, "few") == 7
    cursor.execute("SELECT text FROM few WHERE id >= 100 ORDER BY id")
    assert cursor.fetchall() == [("a",), (None,)]

    # The columns of a table.
    schema = connection.adbc_get_table_schema('a "table"')
    assert schema.names == COLUMNS and schema.field("id").type == pa.int64() and not schema.field("id").nullable
    assert connection.adbc_get_table_schema("few", db_schema_filter="air").names == COLUMNS
    fails(lambda: connection.adbc_get_table_schema("nope"))

    # What there is.
    (catalog,) = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    assert catalog["catalog_name"] == "arenas"
    (schema,) = catalog["catalog_db_schemas"]
    assert schema["db_schema_name"] == "air"
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    assert set(tables) == {'a "table"', "few"} and tables["few"]["table_type"] == "TABLE"
    assert [column["column_name"] for column in tables['a "table"']["table_columns"]] == COLUMNS
    assert [column["ordinal_position"] for column in tables['a "table"']["table_columns"]] == [1, 2, 3]
    for depth in ("catalogs", "db_schemas", "tables"):
        (catalog,) = connection.adbc_get_objects(depth=depth).read_all().to_pylist()
        assert catalog["catalog_name"] == "arenas"
    few = connection.adbc_get_objects(depth="columns", table_name_filter="f%", column_name_filter="t%").read_all()
    (table,) = few.to_pylist()[0]["catalog_db_schemas"][0]["db_schema_tables"]
    assert [column["column_name"] for column in table["table_columns"]] == ["text"]
    assert connection.adbc_get_table_types() == ["TABLE"]
    assert connection.adbc_get_info()["vendor_name"] == "Faretra"

    # Rows that are sent, in each mode.
    rows = pa.table({"x": pa.array(range(100_000)), "y": pa.array([str(i) for i in range(100_000)])})
    assert cursor.adbc_ingest("sent", rows, mode="create") == 100_000
    fails(lambda: cursor.adbc_ingest("sent", rows, mode="create"), "exists already")
    assert cursor.adbc_ingest("sent", rows.slice(0, 10), mode="append") == 10
    assert count(cursor, "sent") == 100_010
    assert cursor.adbc_ingest("sent", rows.to_reader(1000), mode="replace") == 100_000
    assert count(cursor, "sent") == 100_000
    assert cursor.adbc_ingest("sent", rows.slice(0, 1), mode="create_append", db_schema_name="air") == 1
    fails(lambda: cursor.adbc_ingest("none", rows, mode="append"), "none")
    fails(lambda: cursor.adbc_ingest("t", rows, mode="create", temporary=True), "temporary")
    # A cursor that ingested does nothing else any more: the driver's rule.
    with connection.cursor() as another:
        another.executescript("DROP TABLE sent")
        fails(lambda: count(another, "sent"), "sent")

# Statements stand for themselves: there is nothing to commit, and nothing to roll back.
with dbapi.connect(plain) as connection, connection.cursor() as cursor:
    assert count(cursor, "few") == 7

# With the token, as a header and as a password; without it, and with another one.
fails(lambda: dbapi.connect(guarded, autocommit=True).cursor().execute("SELECT 1"), "token")
other = {HEADER: "Bearer open"}
fails(lambda: dbapi.connect(guarded, db_kwargs=other, autocommit=True).cursor().execute("SELECT 1"), "token")
for known in ({HEADER: "Bearer sesame"}, {"username": "anybody", "password": "sesame"}):
    with dbapi.connect(guarded, db_kwargs=known, autocommit=True) as connection, connection.cursor() as cursor:
        assert count(cursor, "few") == 7

# With TLS, if the certificate is known.
with open(certificate) as file:
    known = {DatabaseOptions.TLS_ROOT_CERTS.value: file.read()}
address = secure.replace("127.0.0.1", "localhost")
with dbapi.connect(address, db_kwargs=known, autocommit=True) as connection, connection.cursor() as cursor:
    assert count(cursor, "few") == 7
fails(lambda: dbapi.connect(address, autocommit=True).cursor().execute("SELECT 1"), "certificate")

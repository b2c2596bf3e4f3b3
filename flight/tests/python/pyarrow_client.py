"""pyarrow's client lists, reads and puts tables. Argument: the address of a server of an arena that has `a "table"`."""

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

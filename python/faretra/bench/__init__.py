"""Measure Faretra beside other ways to share data, in one run: `python -m faretra.bench`.

| file | what it is |
|---|---|
| `_measure` | medians, and the floors: what memory itself takes |
| `_rivals` | the ways that a value goes to another process |
| `_multiprocessing` | `faretra.multiprocessing` beside `multiprocessing`: `--section multiprocessing` |
| `_conversions` | the command `faretra` beside pyarrow, file by file: `--section command` |
| `_report` | the numbers as a table, as JSON, as a plot, and beside the targets |
| `__main__` | which measurements there are, and the command line |
"""

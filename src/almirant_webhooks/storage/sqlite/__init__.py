"""Everything that knows SQL: plain functions of plain values on a `sqlite3.Connection`."""

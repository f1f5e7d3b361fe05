"""The database in SQLite with the outbox in an application's PostgreSQL: each engine's parts, put together."""

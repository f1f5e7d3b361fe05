"""The PostgreSQL engine: the outbox in an application's own database (contract, section 6, *PostgreSQL*)."""

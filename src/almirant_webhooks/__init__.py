"""Webhook delivery from one process and one SQLite file."""

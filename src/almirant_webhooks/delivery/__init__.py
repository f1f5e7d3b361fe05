"""The way of an event: a batch at a time from the outbox to the receivers, and its outcomes into the log."""

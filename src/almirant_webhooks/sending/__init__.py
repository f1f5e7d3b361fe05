"""One request to a receiver: a claim goes in, a `Result` comes out; nothing here knows storage."""

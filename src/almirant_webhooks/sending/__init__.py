"""Makes one request to a receiver: a claim goes in, a `Result` comes out. Nothing here knows storage."""

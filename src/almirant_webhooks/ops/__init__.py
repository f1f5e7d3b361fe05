"""What keeps the daemon running and lets operators see it: keys, metrics, the log, systemd, threads, files."""

"""Operation of the daemon: keys, metrics, the log, systemd, threads, files."""

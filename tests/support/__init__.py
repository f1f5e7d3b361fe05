"""What tests are built from: a daemon, a shell, receivers, networks, and databases of a size."""

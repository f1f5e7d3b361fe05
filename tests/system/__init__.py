"""A Debian 12 that is booted by systemd, with the service installed by the README's own steps."""

"""What the daemon serves on `admin.listen`."""

"""The statements that every engine runs, and what is made of their rows. An engine's session runs them; nothing here knows which."""

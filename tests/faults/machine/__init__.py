"""The state machine of `test_steps`: what people do, what the daemon does, and what must hold after every step."""

"""Executes a recorded run again, elsewhere, and compares; see `verification.verify_run`."""

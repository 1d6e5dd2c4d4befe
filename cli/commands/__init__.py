"""The commands: each file holds the one that bears its name, as a function."""

"""The durable joint: one SQLite file, one writer, the log and its checkpoints."""

"""The `hearth` command: one file per command."""

"""Exports: the history as a file, written while it is read."""

"""Live streams: what happens in the runs, told while it happens, from the journal."""

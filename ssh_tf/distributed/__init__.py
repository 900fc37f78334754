"""Work on many machines, by Ray: detection and records. Imported by the command line alone."""

"""From WIDER folders to batches: readers, records, pipeline, and a generator of test data."""

"""From annotated images to batches: readers, records, input pipeline, and drawn test data."""

"""What looks after the store and the caches beside the tracking of tasks."""

"""What moves a task: submits, polls and callbacks, all reconciled into its history."""

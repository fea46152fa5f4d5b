"""The wire formats the sandbox speaks, one file each."""

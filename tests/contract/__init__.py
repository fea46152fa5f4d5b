"""Every provider and every hook, taken from the registries."""

"""Tests, sorted by what they cost: unit, contract, property, integration, acceptance."""

"""Simulated events: from files or generators to the arrays an analysis trains on."""

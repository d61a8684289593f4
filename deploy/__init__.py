"""Engines on their way from the workshop to a device."""

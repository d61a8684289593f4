"""Engines on their way from the workshop to a device."""

from station.quiet import switch_off

switch_off()

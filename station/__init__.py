"""The daemon on the device: from trigger to acknowledged bin."""

from station.quiet import switch_off

switch_off()

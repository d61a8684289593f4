"""Cells without a protocol: single wires for trigger, busy, OK, NG and valid, and a gate behind a belt."""

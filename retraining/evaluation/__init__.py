"""How good a network is as a station would use it: parts, thresholds, temperature, robustness, report."""

"""What every training shares: run folder, several processes, precision, curves, contact sheets, step cost."""

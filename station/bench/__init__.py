"""What this machine can do: verdicts per second, patching times, memory."""

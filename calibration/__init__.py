"""From measurements to the numbers that config and recipes hold."""

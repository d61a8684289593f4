"""What a station says of itself to its plant, signed: what judges, how it does, what its journal has."""

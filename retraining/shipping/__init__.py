"""From trained weights to an engine folder: export, quantisation, golden parts, further back ends."""

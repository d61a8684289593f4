"""What carries a part to its bin: the interface and one file a protocol."""

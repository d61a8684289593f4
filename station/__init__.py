"""The daemon on the device: from trigger to acknowledged bin."""

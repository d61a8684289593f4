"""The serial line of docs/serial-protocol.md: frames, link, port, and an explainer of recorded bytes."""

"""Networks only: shapes in, shapes out; no files, no training loop, no I/O."""

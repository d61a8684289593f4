"""The first stage of an INT8 network in one pass over a patch: convolution, ReLU and pool, in integers."""

"""The offline workshop: data sets, training, evaluation and export."""

"""The offline workshop: data sets, training, evaluation and export."""

from station.quiet import switch_off

switch_off()

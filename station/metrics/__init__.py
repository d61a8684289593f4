"""What Prometheus reads of a running station (docs/metrics.md): series made when they are asked for.

Nothing is counted here: a scrape takes the snapshot that the live view takes, in the thread that serves it,
so that the decision path does nothing for it.
"""

"""A consumer of telemetry: writes what stations send into PostgreSQL or Parquet, and says what it holds.

``holding.py`` knows what is held without a gap and does no I/O; ``stores.py`` are the database and the files;
``sink.py`` is the loop around them. Messages are stored in the order of their numbers only; a receipt leaves
after the commit and never before, so that a sink that is killed loses nothing. docs/mqtt.md has the messages.
"""

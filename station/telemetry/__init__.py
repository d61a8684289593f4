"""Telemetry: the journal's records and events on their way to dashboards and databases, over MQTT.

The rules, in order:

1. The journal is the only queue. What is not delivered is read again from it; nothing waits in memory alone.
2. A broker's confirmation is no delivery. Where receipts are required, only the consumer's word moves its
   cursor; where they are not, a confirmation moves it, but not one with the reason *no matching subscribers*.
3. After each reconnect the last seconds are sent again, marked as repeats.
4. Numbers decide the order, never times.
5. A record is never dropped. Gauges are, when the broker is slow, and are counted.
6. The decision path knows nothing of it: it runs in a thread of its own that reads the journal from the disk.

``outbox.py`` decides what is sent next and does no I/O; ``streams.py`` reads the journal; ``messages.py`` and
``schemas/`` are the words (docs/mqtt.md); ``thread.py`` is the thread and its broker, ``sender.py`` what it
sends in JSON, ``sparkplug*.py`` the same as Sparkplug B (docs/sparkplug.md).
"""

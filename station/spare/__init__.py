"""Networks beside the line, each in a process of its own that computes in spare time only.

What looks at parts a second time - the shadow, the second opinion, the novelty by pretrained features - needs
a second network, and neither loading nor computing it may hold up the line. A thread of the lowest priority
does: it takes the interpreter's lock, the processor is taken from it, and every thread of the line waits for
the lock of one that does not run. A process shares no lock.

``open_spare(job)`` starts ``python -m station.spare``, which gives way to everything else first, opens and
proves the network, and then scores parts; to its caller it is an :class:`~station.engines.interface.Engine`.

* ``jobs.py``: what such a process opens.
* ``wire.py``: the messages, and the memory that both processes share.
* ``engine.py``: the station's side, which waits with a bound and believes nothing it has not checked.
* ``patience.py``: how long it waits for a process that may have no time.
* ``__main__.py``: the other side.

Nothing is imported here: the process gives way before it imports anything.
"""

"""Control: a local socket over which other processes read the status, and prepare, halt and resume.

HTTP over a Unix socket: whoever may open the file may ask, and nobody from outside the machine can. It is the
only way into a running station, and the only thing that it listens on.

=========================  ===========================  ===================================================
``GET /status``                                         everything a person wants to know
``POST /prepare``          ``{"recipe": "NAME"}``       change over to a recipe and its engine
``POST /activate``         ``{"engine": "NAME"}``       change over to another engine for the same recipe
``POST /engines/activate``  ``{"engine": "DIGEST", ...}``  let an engine of the store judge, in trial
``POST /engines/rollback``  ``{"why": "W", "by": "B"}``  the engine before judges again
``POST /halt``             ``{"reason": "WHY"}``        no part from now on; those in hand are finished
``POST /resume``                                        parts are welcome again
``POST /marks``            ``{"lot": "L", ...}``        lot, shift and operator of the parts from now on
``POST /review``           ``{"record": 17, ...}``      a person's word about an inspected part
=========================  ===========================  ===================================================

A recipe's ``NAME`` may be ``NAME@WIDTH``: all parts then have this width, px. An answer is a JSON object;
when something could not be done, it holds ``error``, and the HTTP status is 4xx.
Each connection brings one request. Callers that say nothing, never read, or come in crowds are dropped, so
that none can hold the server, let alone the line, which runs in other threads and waits for none of this.
"""

from station.control.asking import ControlError, ask

__all__ = ["ControlError", "ask"]

"""Engines on their way to the station: a process, a user and a unit of their own (docs/updates.md).

What an update does, in order:

1. Take the lock, so that two updaters never work at once.
2. Refresh the metadata of both repositories, each from its own root: the images of the workshop, and the
   director of the plant. The time of day is never earlier than the newest signed time that was seen
   (``clock.py``).
3. For every product, find the order of the director that is for this station (``orders.py``).
4. Find the same target in the image repository. Length and hashes must be the same in both.
5. Fetch it, not slower than allowed and not longer than allowed; go on where the last try ended
   (``fetcher.py``).
6. Hash what was written again, open it safely, and install it in the store. The station proves it before it
   is used.

Whatever is refused is said in words, written into the record (``record.py``), and changes nothing that is
installed.
"""

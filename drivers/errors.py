"""The root of every error that a user can correct."""


class InspectionError(Exception):
    """Something could not be done; the message names what and says what to do about it.

    A command line catches this one class: it prints the message and ends with exit code 2. It stands here
    because cameras and sorters, which know nothing of inspection, raise children of it too.
    """

"""What can be wrong with a repository, its keys or an order."""

from drivers.errors import InspectionError


class RepositoryError(InspectionError):
    """A repository cannot be read or changed so; the message says what to do."""

"""Repositories of engines and of orders, by The Update Framework: written here, read by stations."""

from importlib.util import find_spec

from deploy.repository.errors import RepositoryError

if find_spec("tuf") is None:
    raise RepositoryError(
        "repositories of engines need the extra `updates`: pip install 'inspection-station[updates]'"
    )

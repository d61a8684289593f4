"""A job change: the cell asks for another recipe. Part of the handshake, and as pure.

1. From the request on, no trigger is accepted until the recipe is prepared: a part of the next job must not
   be judged by the recipe of the one before. A trigger of before the request that comes late is refused: nor
   must its part be judged by the next recipe.
2. Parts in hand finish first; then the application is asked, once.
3. A change that fails leaves nothing prepared (*initialized*, OPC 40100-1): the cell has changed over, so the
   recipe of before would be wrong for its parts. Another job change, or a person, ends this.
4. A repeated request is answered with what was last said about it. One change at a time: another is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Generic, TypeVar

from drivers.sorters.interface import JobChange

M = TypeVar("M")


class JobStatus(StrEnum):
    """What the station says about a job change."""

    UNDER_WAY = "under way"
    PREPARED = "prepared"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class JobReply:
    """Reply: how far a job change is."""

    number: int
    """The request's."""
    status: JobStatus
    text: str
    """The recipe, or why it was refused."""


class _Stage(Enum):
    WAITING = auto()
    """For parts in hand."""
    DELIVERED = auto()
    OVER = auto()


@dataclass(slots=True)
class _Job(Generic[M]):
    number: int
    recipe: str
    stage: _Stage
    answer: M | None
    """What was last said about it; None where the cell that asked is no more."""


class Jobs(Generic[M]):
    """The job changes of one run of the station. ``spell`` makes a reply a new message of the wire."""

    def __init__(self, spell: Callable[[JobReply], M]) -> None:
        self._spell = spell
        self._job: _Job[M] | None = None
        self._refused: _Job[M] | None = None
        """The last request that came while another one was under way."""
        self._unprepared = ""
        self.changed_at = 0
        """The number of the last request that changed something: parts that were triggered before it are not
        of its recipe."""

    @property
    def under_way(self) -> str:
        """That a change is under way, for people; empty while none is."""
        job = self._job
        return "" if job is None or job.stage is _Stage.OVER else f"changing over to {job.recipe}"

    @property
    def held(self) -> str:
        """Why no recipe is prepared for the cell's next parts; empty while one is."""
        return self.under_way or self._unprepared

    def last_number(self) -> int:
        """The number of the last request of the present cell."""
        return max((job.number for job in self._answered), default=0)

    def known(self, number: int) -> tuple[str, M] | None:
        """The recipe of a request that was made before, and what was last said about it."""
        found = (job for job in self._answered if job.number == number)
        return next(((job.recipe, job.answer) for job in found if job.answer is not None), None)

    @property
    def _answered(self) -> list[_Job[M]]:
        return [job for job in (self._job, self._refused) if job is not None and job.answer is not None]

    def ask(self, number: int, recipe: str, *, is_prepared: bool, refusal: str) -> M:
        """A new request. ``refusal``: why there can be no change now."""
        if not refusal and self.under_way:
            refusal = f"{self.under_way}; ask again when it is done"
        if refusal:
            answer = self._spell(JobReply(number, JobStatus.REFUSED, refusal))
            refused = _Job(number, recipe, _Stage.OVER, answer)
            if self.under_way:
                self._refused = refused
            else:
                self._job = refused
            return answer
        if is_prepared and not self._unprepared:
            answer = self._spell(JobReply(number, JobStatus.PREPARED, recipe))
            self._job = _Job(number, recipe, _Stage.OVER, answer)
            return answer
        self.changed_at = number
        answer = self._spell(JobReply(number, JobStatus.UNDER_WAY, recipe))
        self._job = _Job(number, recipe, _Stage.WAITING, answer)
        return answer

    @property
    def waits(self) -> bool:
        """Whether a change waits for the end of the parts in hand."""
        return self._job is not None and self._job.stage is _Stage.WAITING

    def deliver(self) -> JobChange:
        """No part is in hand any more: the request for the application."""
        assert self._job is not None
        self._job.stage = _Stage.DELIVERED
        return JobChange(self._job.number, self._job.recipe)

    def done(self, change: JobChange, problem: str) -> list[M] | None:
        """The application has prepared the recipe, or failed; None where nothing was asked of it."""
        job = self._job
        if job is None or job.stage is not _Stage.DELIVERED or job.number != change.number:
            return None
        job.stage = _Stage.OVER
        self._unprepared = problem
        if job.answer is None:
            return []
        status, text = (JobStatus.REFUSED, problem) if problem else (JobStatus.PREPARED, job.recipe)
        job.answer = self._spell(JobReply(job.number, status, text))
        return [job.answer]

    def prepared(self) -> None:
        """Something was prepared by whoever: the failure of before is over."""
        self._unprepared = ""

    def begin_anew(self) -> None:
        """The cell that asked is no more: the change goes on, and nobody is told how it ends."""
        self._refused, self.changed_at = None, 0
        if self._job is not None:
            self._job.answer = None

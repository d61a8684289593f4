"""``station engines``: which engines came home, what was proven of them, which one judges; and back again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from station.cli.backends import backends
from station.cli.shadow import compare, shadow
from station.cli.status import Configuration

if TYPE_CHECKING:
    from station.config import StationConfig
    from station.engines.store import Store
    from station.recipe import Recipe

app = typer.Typer(
    help="Show, prove, activate and roll back the engines of this station.", no_args_is_help=True
)
app.command("backends")(backends)
app.command("shadow")(shadow)
app.command("compare")(compare)

NameOption = Annotated[
    str | None, typer.Option("--name", help="The engine's name; the recipe's engine if you leave it out.")
]
DigestArgument = Annotated[
    str, typer.Argument(help="The first 6 or more digits of the engine's digest, as `list` shows it.")
]
ByOption = Annotated[
    str | None, typer.Option("--by", help="The person who does this; the login name if you leave it out.")
]
CHANGEOVER_S = 600.0


@app.command("list")
def list_engines(config: Configuration = Path("config/demo.yaml"), name: NameOption = None) -> None:
    """List the engines of the store: version, state, since when and why, and which one judges.

    Examples:

        station engines list

        station engines list --config /etc/station/station.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from station.cli.text import told
    from station.engines.store import FACTORY

    _, _, store = _read(config, name)
    known = store.engines()
    roles = {known.previous: "previous", known.candidate: "candidate", known.active: "active"}
    table = Table(title=told(f"engines of {store.name}"), title_justify="left")
    for column in ("role", "digest", "version", "state", "since (UTC)", "why"):
        table.add_column(column, justify="right" if column == "version" else "left")
    for entry in sorted(known.entries.values(), key=lambda one: one.at):
        here = "" if store.folder_of(entry.digest).is_dir() else " (files deleted)"
        state = f"{entry.state}{here}"
        if entry.starts:
            state += f", {entry.starts} starts"
        table.add_row(
            roles.get(entry.digest, ""),
            entry.digest[:12],
            str(entry.version),
            state,
            entry.at[:19],
            told(entry.why),
        )
    table.add_row(roles.get(FACTORY, ""), FACTORY, "", "", "", told(f"the folder {store.factory}"))
    Console().print(table)


@app.command("prove")
def prove(
    digest: DigestArgument,
    config: Configuration = Path("config/demo.yaml"),
    name: NameOption = None,
    by: ByOption = None,
) -> None:
    """Let an engine prove itself on this machine: recipe, golden and known-bad parts, latency, memory.

    The result is signed with the station's key and kept in the folder `proofs` of the store. An engine that
    fails is bad; one that was bad before is proven again if it passes. A running station inspects parts
    meanwhile.

    Exit code: 0 it passed, 1 it failed.

    Examples:

        station engines prove 3f9a12c4

        station engines prove 3f9a12c4 --config /etc/station/station.yaml --by "J. Novak"
    """
    from station.cli.service_user import run_as, service_user
    from station.cli.text import printable
    from station.engines.interface import EngineOptions
    from station.engines.proof import Limits, begun_proof, prove_engine, write_proof
    from station.journal.values import software_version
    from station.signing import own_key

    loaded, recipe, store = _read(config, name)
    person = _person(by)
    user = service_user(loaded.paths.journal.parent)
    if user is not None:
        words = ["engines", "prove", digest, "--config", str(config.absolute()), "--name", store.name]
        raise typer.Exit(run_as(user, [*words, "--by", person]))
    engine, known = store.find(digest), store.engines()
    chosen, limits = loaded.engine, loaded.limits
    proof = prove_engine(
        engine,
        [one for one in store.in_order() if one.folder.is_dir()],
        recipe,
        EngineOptions(threads=chosen.threads, chunk=chosen.chunk, cache=loaded.paths.cache),
        Limits(limits.part_deadline_ms, loaded.new_engines.memory_mb),
        begun_proof(loaded.station.name, engine, recipe, software_version()),
        backend=chosen.backend,
        precision=chosen.precision,
    )
    file = write_proof(store.folder, proof, own_key(loaded.paths.key))
    if engine.digest in known.entries:
        store.change(
            lambda now: (
                now.failed(engine.digest, proof.failed, by=person)
                if proof.failed
                else now.proven(engine.digest, proof.summary, by=person)
            )
        )
    print(
        printable(
            f"engine {engine.digest[:12]}: {'NOT proven' if proof.failed else 'proven'}: {proof.summary}"
        )
    )
    print(f"signed record: {file}")
    if proof.failed:
        raise typer.Exit(1)


@app.command("activate")
def activate(
    digest: Annotated[
        str, typer.Argument(help="The first 6 or more digits of a proven engine's digest, or `factory`.")
    ],
    config: Configuration = Path("config/demo.yaml"),
    name: NameOption = None,
    by: ByOption = None,
    why: Annotated[str, typer.Option("--why", help="The reason, which is written down.")] = "by request",
) -> None:
    """Let a proven engine judge the parts, in trial: if its health drops, the station goes back by itself.

    A running station proves it once more and changes over between two parts; else the next start does.

    Examples:

        station engines activate 3f9a12c4 --why "knows burrs"

        station engines activate factory --by "J. Novak"
    """
    body = {"engine": digest, "why": why, "by": _person(by)}
    if _asked(config, "/engines/activate", body):
        return
    loaded, _, store = _read(config, name)
    wanted = store.find(digest).digest
    after_record, before = _last_part(loaded)
    store.change(
        lambda known: known.activated(wanted, why, by=_person(by), after_record=after_record, before=before)
    )
    print(f"engine {wanted[:12]}: the next start of the station begins its trial")


@app.command("rollback")
def rollback(
    config: Configuration = Path("config/demo.yaml"),
    name: NameOption = None,
    by: ByOption = None,
    why: Annotated[str, typer.Option("--why", help="The reason, which is written down.")] = "by request",
) -> None:
    """Take the active engine away as bad: the one before it judges again, or else the factory engine.

    It is not activated again unless a person lets it prove itself (`station engines prove`).

    Examples:

        station engines rollback --why "too many good parts in the reject bin"

        station engines rollback --config /etc/station/station.yaml --by "J. Novak"
    """
    if _asked(config, "/engines/rollback", {"why": why, "by": _person(by)}):
        return
    _, _, store = _read(config, name)
    known = store.change(lambda now: now.rolled_back(why, by=_person(by)))
    print(f"engine {known.active[:12]}: the next start of the station uses it")


@app.command("history")
def history(config: Configuration = Path("config/demo.yaml"), name: NameOption = None) -> None:
    """Print what became of every engine, step by step, with who and why.

    The journal's chain has the same steps: `station journal events --kind store`.

    Examples:

        station engines history

        station engines history --config /etc/station/station.yaml
    """
    from station.cli.text import printable

    _, _, store = _read(config, name)
    known = store.engines()
    for step in known.steps:
        late = "" if step.number <= known.in_journal else " (not in the journal yet)"
        what = f"{step.digest[:12]:12} {step.step:10} {step.why} ({step.by})"
        print(printable(f"{step.number:4} {step.at[:19]}Z {what}{late}"))
    if not known.steps:
        print(f"no engine of {store.name} has come home yet: the factory engine judges")


@app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(help="The digest of an engine, or `factory`.")],
    second: Annotated[str, typer.Argument(help="The digest of another one, or `factory`.")],
    config: Configuration = Path("config/demo.yaml"),
    name: NameOption = None,
) -> None:
    """Print in what two engines differ: classes, numbers, figures, data, files.

    Examples:

        station engines diff factory 3f9a12c4

        station engines diff 3f9a12c4 81b0ce55 --config /etc/station/station.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from station.cli.text import told

    _, _, store = _read(config, name)
    columns = [_facts(store, one) for one in (first, second)]
    table = Table(title_justify="left")
    for column in ("", first[:12], second[:12]):
        table.add_column(told(column))
    for key in dict.fromkeys(key for facts in columns for key in facts):
        values = [facts.get(key, "-") for facts in columns]
        if values[0] != values[1]:
            table.add_row(key, *map(told, values))
    if table.row_count:
        Console().print(table)
    else:
        print("they differ in nothing")


def _facts(store: Store, digest: str) -> dict[str, str]:
    """What can be said of an engine, by name."""
    from station.engines.contents import read_contents
    from station.engines.folder import load_manifest

    engine = store.find(digest)
    manifest = load_manifest(engine.folder, engine.name)
    rules = manifest.rules
    found = {"description": manifest.description, "network": manifest.network}
    if engine.entry is not None:
        contents = read_contents(engine.folder)
        rules = contents.rules
        found |= {"version": str(contents.version), "from": engine.entry.provenance.target}
        found |= {
            "data": ", ".join(one[:12] for one in contents.data),
            "licences": ", ".join(contents.licences),
        }
    found |= {"classes": ", ".join(manifest.classes)}
    found |= {f"rules.{key}": str(value) for key, value in rules.model_dump().items()}
    found |= {f"file {variant}": sha[:12] for variant, sha in manifest.digests.items()}
    for variant, figures in manifest.figures.items():
        one = figures.outcomes
        found[f"figures {variant}"] = (
            f"{figures.parts} parts, accuracy {one.accuracy:.2%}, {figures.escapes} escapes, "
            f"{figures.overkill} overkill"
        )
    found["golden parts"] = ", ".join(f"{part.name} {part.sha256[:8]}" for part in manifest.golden)
    return found


def _read(config: Path, name: str | None) -> tuple[StationConfig, Recipe, Store]:
    """The configuration, its recipe, and the store of the engine that is meant."""
    from station.assembly import load
    from station.preparing import store_of

    loaded, recipe = load(config)
    return loaded, recipe, store_of(loaded, name or recipe.engine)


def _asked(config: Path, what: str, body: dict[str, Any]) -> bool:
    """Whether a station runs, which then has done it."""
    from station.cli.orders import order
    from station.config import load_config
    from station.journal.lock import writer_of

    if not writer_of(load_config(config).paths.journal):
        return False
    order(config, None, what, body, CHANGEOVER_S)
    return True


def _last_part(config: StationConfig) -> tuple[int, str]:
    """The journal's newest record, and the model that judged it; 0 where there is none."""
    from station.journal.reading import JournalReader
    from station.journal.selection import Selection

    if not config.paths.journal.exists():
        return 0, ""
    with JournalReader(config.paths.journal) as journal:
        newest = next(journal.records(Selection(newest_first=True, limit=1), scores=False), None)
    return (0, "") if newest is None else (newest.record_id, newest.engine_digest or "")


def _person(by: str | None) -> str:
    """Who does it; the name of the login where nobody is named."""
    import getpass

    return by or getpass.getuser()

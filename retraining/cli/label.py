"""``retrain label``: people say what pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retraining.cli.options import listed
from station.cli.parameters import FILE_MADE, FOLDER_MADE

app = typer.Typer(
    name="label",
    help="Label pictures: on a page or by CSV, with two people's agreement.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

DataArgument = Annotated[
    Path,
    typer.Argument(
        help="A data set (`dataset.json` or its folder), a folder of pictures, a station's rare log, or what "
        "was received from stations."
    ),
]
ClassesOption = Annotated[
    str, typer.Option(help="What a picture can show, separated by commas; a data set names it itself.")
]


@app.command("page")
def page(
    data: DataArgument,
    by: Annotated[str, typer.Option(help="Your name; it is kept with every answer.")],
    classes: ClassesOption = "",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 0,
    order: Annotated[
        Path | None, typer.Option(help="CSV of `retrain next`: only its pictures, in its order.")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide what the station or others said.")] = False,
) -> None:
    """Open a page on this machine on which pictures are labelled, until Ctrl-C.

    Class buttons and the keys 1 to 9, boxes, many pictures at once, undo and redo without an end. Every
    answer is on the disk before the page goes on. Two people label the same set under two names.

    Examples:

        retrain label page data/mine --by anna

        retrain label page pictures --by ben --classes good,scratch,pit --blind

    """
    import socket

    import uvicorn

    from retraining.labels.answers import AnswerLog, cut_off_line
    from retraining.labels.page import make_page, new_token
    from retraining.labels.pictures import open_task, read_order

    task = open_task(data, listed(classes), read_order(order) if order is not None else ())
    log = AnswerLog(task.folder)
    log.entries()
    if lost := cut_off_line(log.path):
        print(f"note: the last line of {log.path} was cut off by a crash and does not count: {lost}")
    token = new_token()
    server = make_page(task, log, by, token, blind=blind)
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/{token}/", flush=True)
        print(f"{len(task.pictures)} pictures; answers are kept in {log.path}; Ctrl-C ends", flush=True)
        config = uvicorn.Config(server, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


@app.command("export")
def export(
    data: DataArgument,
    target: Annotated[Path, typer.Argument(help="CSV file to write."), FILE_MADE],
    classes: ClassesOption = "",
) -> None:
    """Write every picture and what people said of it as CSV; rows without a class wait for one.

    Examples:

        retrain label export data/mine labels.csv

    """
    from retraining.labels.answers import AnswerLog
    from retraining.labels.pictures import open_task
    from retraining.labels.tables import write_table

    task = open_task(data, listed(classes) or ("",))
    print(f"{write_table(task, AnswerLog(task.folder), target)} rows: {target}")


@app.command("import")
def import_table(
    data: DataArgument,
    source: Annotated[Path, typer.Argument(help="CSV file with the columns picture, class and by.")],
    classes: ClassesOption = "",
) -> None:
    """Take labels from a CSV; where a line is wrong, all wrong lines are named and nothing is taken.

    Examples:

        retrain label import data/mine labels.csv

    """
    from retraining.labels.answers import AnswerLog
    from retraining.labels.pictures import open_task
    from retraining.labels.tables import read_table

    task = open_task(data, listed(classes))
    print(f"labels of {read_table(task, AnswerLog(task.folder), source)} pictures taken")


@app.command("agree")
def agree(data: DataArgument, classes: ClassesOption = "") -> None:
    """Show how far each two people agree: Cohen's kappa, who says what, and the pictures that differ.

    Examples:

        retrain label agree data/mine

    """
    from itertools import combinations

    from retraining.errors import DatasetError
    from retraining.labels.agreement import agreement, agreement_table
    from retraining.labels.answers import AnswerLog
    from retraining.labels.pictures import open_task

    task = open_task(data, listed(classes) or ("",))
    log = AnswerLog(task.folder)
    people = log.people()
    if len(people) < 2:
        raise DatasetError(f"{len(people)} people have labelled {data}; agreement needs two")
    for one, two in combinations(people, 2):
        print(agreement_table(agreement((one, two), log.of(one), log.of(two))))
        print()


@app.command("apply")
def apply_labels(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Folder for the new dataset.json."), FOLDER_MADE],
    classes: ClassesOption = "",
) -> None:
    """Make a data set of what people said. Pictures without a label, or with two, are left out and named.

    Examples:

        retrain label apply data/mine --out data/labelled

    """
    from retraining.data.manifest import save_dataset
    from retraining.labels.answers import AnswerLog
    from retraining.labels.applying import apply_answers
    from retraining.labels.pictures import open_task

    task = open_task(data, listed(classes))
    found = apply_answers(task, AnswerLog(task.folder), data)
    path = save_dataset(found.dataset, out)
    print(", ".join(f"{count} {name}" for name, count in found.dataset.count().items()))
    for what, paths in (
        ("without a label", found.unlabelled),
        ("disputed, see `retrain label agree`", found.disputed),
        ("not sure, or no product", found.set_aside),
    ):
        if paths:
            print(
                f"left out, {what}: {len(paths)}: {', '.join(paths[:10])}{' ...' if len(paths) > 10 else ''}"
            )
    print(path)

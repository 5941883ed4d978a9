"""What `hiper-serve` does with the data folder beside serving it: keys, backups, checks; a server may run meanwhile."""

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from engine.server.caller import LOCAL
from engine.server.console import reporting
from engine.server.open_store import check_store, open_store
from engine.server.records import SCOPES, Scope
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import StoreError

DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Tails, fits, pictures and keys; one server each. [default: ~/.local/share/hiper-serve]"
    ),
]
KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")]

USUAL: Final = "edit,fit,tails"

keys = typer.Typer(help="Who may use the server, once it has keys.", no_args_is_help=True)
data = typer.Typer()


def parse_scopes(text: str) -> frozenset[Scope]:
    """Scopes from words like "edit,fit"."""
    wanted = text.replace(",", " ").split()
    scopes = frozenset(scope for scope in SCOPES if scope in wanted)
    if not scopes or len(scopes) != len(set(wanted)):
        raise typer.BadParameter(f"{text!r} are no scopes; write some of {', '.join(SCOPES)}, with commas between them")
    return scopes


@keys.command()
@reporting
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, for you to remember.")],
    scopes: Annotated[str, typer.Option(metavar="SCOPES", help="What it may do: edit, fit, tails.")] = USUAL,
    max_edits: Annotated[int, typer.Option(min=1, help="Under way at once.")] = 8,
    edits_per_minute: Annotated[int, typer.Option(min=1, help="On average.")] = 60,
    max_fits: Annotated[int, typer.Option(min=0, help="Queued or running.")] = 2,
    data_dir: DataOption = None,
) -> None:
    """Make a key and print it, this once; from the first key on, nobody gets in without one."""
    with _opened(context, data_dir) as store:
        key, token = store.add_key(
            name,
            parse_scopes(scopes),
            max_edits=max_edits,
            edits_per_minute=edits_per_minute,
            max_fits=max_fits,
        )
    typer.echo(f"{key.id} may {', '.join(sorted(key.scopes))}; the key is not kept anywhere, so keep it", err=True)
    typer.echo(token)


@keys.command("list")
@reporting
def list_keys(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    data_dir: DataOption = None,
) -> None:
    """List the keys, without what opens the door."""
    with _opened(context, data_dir) as store:
        for key in store.keys():  # noqa: SIM118  it is no mapping
            if as_json:
                typer.echo(json.dumps({**asdict(key), "scopes": sorted(key.scopes)}))
            else:
                state = "revoked" if key.revoked_at else "valid"
                typer.echo(f"{key.id}  {state}  {','.join(sorted(key.scopes))}  {key.name}")


@keys.command()
@reporting
def revoke(
    context: typer.Context,
    id: KeyArgument,
    data_dir: DataOption = None,
) -> None:
    """Let a key open nothing more; what was made with it stays."""
    with _opened(context, data_dir) as store:
        if not store.revoke_key(id):
            raise _no_key(id)


@keys.command()
@reporting
def rotate(
    context: typer.Context,
    id: KeyArgument,
    data_dir: DataOption = None,
) -> None:
    """Print a new key in place of one that may be known to others; what was made with that one stays its."""
    with _opened(context, data_dir) as store:
        token = store.rotate_key(id)
    if token is None:
        raise _no_key(id)
    typer.echo(f"the key of {id} until now opens nothing more; this one is not kept anywhere, so keep it", err=True)
    typer.echo(token)


@keys.command()
@reporting
def adopt(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help=f"Id of a key, revoked or not, or {LOCAL}.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Id of a valid key.")],
    data_dir: DataOption = None,
) -> None:
    """Hand tails and fits over to another key, as those from before the first key, which are "local"'s."""
    with _opened(context, data_dir) as store:
        moved = store.adopt(source, target)
    if moved is None:
        raise _no_key(target)
    typer.echo(f"tails: {moved[0]}, fits: {moved[1]}; they are {target}'s now")


@data.command()
@reporting
def backup(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To be made; a server can start from it.")],
    data_dir: DataOption = None,
) -> None:
    """Copy the data while the server runs, or does not."""
    with _opened(context, data_dir) as store:
        store.backup(folder)
    typer.echo(folder)


@data.command()
@reporting
def check(context: typer.Context, data_dir: DataOption = None) -> None:
    """Say what is wrong with the data, a line each, and change nothing."""
    problems = check_store(_settings(context, data_dir))
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(StoreError.exit_code)


def _no_key(id: str) -> typer.BadParameter:
    return typer.BadParameter(f"{id!r} is no valid key's id; see: hiper-serve keys list")


def _settings(context: typer.Context, data_dir: Path | None) -> Settings:
    settings: Settings = context.obj
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir.expanduser()})


def _opened(context: typer.Context, data_dir: Path | None) -> "closing[Store]":
    """The store, beside servers that may run."""
    return closing(open_store(_settings(context, data_dir), alone=False))

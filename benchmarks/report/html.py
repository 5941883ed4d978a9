"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from benchmarks.report.doubts import doubts
from benchmarks.report.page import Block, Gallery, Pair, Picture, Plot, Section, Table, Text, Tile, pick
from benchmarks.report.records import Record


def html(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: of the report.
        lead: one paragraph under it.
        sections: in order.
    """
    style = files("benchmarks.report").joinpath("style.css").read_text()
    tiles = pick(tile for section in sections for tile in section.tiles)
    links = [f'<a href="#s{index}">{escape(section.title)}</a>' for index, section in enumerate(sections)]
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>",
        _tiles(tiles),
        f"<nav>{''.join(links)}</nav>",
        *(_section(index, section) for index, section in enumerate(sections)),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>\n'


def _tiles(tiles: Sequence[Tile]) -> str:
    shown = [
        f"<div><b>{escape(tile.value)}</b><span>{escape(tile.meaning)}</span><small>{escape(tile.detail)}</small></div>"
        for tile in tiles
    ]
    return f'<div class="tiles">{"".join(shown)}</div>' if tiles else ""


def _section(index: int, section: Section) -> str:
    question = f'<p class="question">{escape(section.question)}</p>' if section.question else ""
    errors = [
        f'<p class="loud"><b>{escape(side)} failed.</b> {escape(reason)}</p>'
        for record in section.records
        for side, reason in record.errors.items()
    ]
    blocks = [*errors, *map(_block, section.blocks), *map(_origin, section.records)]
    return f'<section id="s{index}"><h2>{escape(section.title)}</h2>{question}{"".join(blocks)}</section>'


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p{' class=loud' if block.loud else ''}>{escape(block.text)}</p>"
    if isinstance(block, Plot):
        return f"<figure>{block.svg}<figcaption>{escape(block.caption)}</figcaption></figure>"
    if isinstance(block, Picture):
        return f"<figure>{_image(block)}<figcaption>{escape(block.caption)}</figcaption></figure>"
    if isinstance(block, Pair | Gallery):
        inside = block.plots if isinstance(block, Pair) else block.pictures
        return f'<div class="{type(block).__name__.lower()}">{"".join(map(_block, inside))}</div>'
    return _table(block)


def _image(picture: Picture) -> str:
    return f'<img src="{escape(picture.uri)}" alt="{escape(picture.caption)}">'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table.rows]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _origin(record: Record) -> str:
    """Where figures come from, folded."""
    facts = origin(record)
    shown = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<details><summary>{escape(record.path.name)}</summary><dl>{shown}</dl></details>"


def origin(record: Record) -> dict[str, str]:
    """What a reader needs to judge a record, and to measure it again."""
    hardware, versions = record.hardware, record.content["versions"]
    gpus = [", ".join(f"{name} {value}" for name, value in gpu.items()) for gpu in hardware.get("gpus", [])]
    processor = f"{hardware['cpu']}, {hardware['cores']} cores, load {hardware['load_average']:.2f} when it ended"
    clocks = hardware.get("cpu_mhz")
    return {
        "measured": record.time,
        "commit": ", ".join([record.commit, *doubts(record)]),
        "command": " ".join(map(str, record.content.get("command", []))),
        "processor": processor + (f", {clocks[0]:.0f} MHz" if clocks else ""),
        **({"instructions": " ".join(hardware["cpu_flags"])} if hardware.get("cpu_flags") else {}),
        "memory": f"{hardware['memory_bytes'] / 2**30:.0f} GiB",
        **({"GPUs": "; ".join(gpus)} if gpus else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        **({"weights": record.model_digest} if record.model_digest else {}),
        "settings": ", ".join(f"{name} {value}" for name, value in record.settings.items()),
    }

"""Oracles: an HTML parser for what a browser would see, an XML parser for plots, and figures that the test put in."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.record import RECORDS
from benchmarks.report.bar_plot import Bar, Stack, bars, stacked
from benchmarks.report.book import Book
from benchmarks.report.build import compose, write_report
from benchmarks.report.figures import figures_of
from benchmarks.report.floors import find_floors
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Plot, Table
from benchmarks.report.readme import tables
from benchmarks.report.records import RecordError, newest, read_record, read_records
from benchmarks.report.svg import Axis
from tests.benchmarks.conftest import edit_results

FLOORS = {
    "networks": {
        name: {"flops": flops, "weight_bytes": 4 * 2**20}
        for name, flops in (("text_encoder", 1e8), ("unet", 1e9), ("decoder", 3e9))
    },
    "peaks": {"fp32": {"flops_per_s": 1e12}, "bf16": {"flops_per_s": 4e12}, "copy": {"bytes_per_s": 1e10}},
}


SERVED = ("Offline", "same load", "Server")


class Seen(HTMLParser):
    """What a page would fetch, its tags, and whether they close."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "line", "rect", "circle", "polyline", "polygon"):
            self.open.append(tag)
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith(("data:", "#"))
        ]

    def handle_endtag(self, tag):
        if tag not in ("line", "rect", "circle"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        self.text.append(data)


def seen(path):
    page = Seen()
    page.feed(path.read_text())
    assert page.open == []
    return page


def test_the_records_of_the_project_make_a_page_that_fetches_nothing(tmp_path):
    html, markdown = write_report([RECORDS], tmp_path / "report")
    page = seen(html)
    assert page.fetched == [] and html.stat().st_size < 2**21
    assert "Animals in order, none picked: source, text alone, HiPer, ground truth" in page.text
    for record in newest(read_records([RECORDS])):
        assert record.path.name in page.text and record.path.name in markdown.read_text()


def test_names_from_outside_are_words_and_not_markup(make_record, tmp_path):
    path = make_record(
        results=edit_results(diffusers=500, **{"<b>evil</b>|": 200}), errors={"<i>": "<script>no</script>"}
    )
    html, markdown = write_report([path], tmp_path)
    page = seen(html)
    assert "<script" not in html.read_text() and "<b>evil" not in html.read_text() and "<b>evil</b>|" in page.text
    assert "\\|" in markdown.read_text()


def test_a_failed_side_is_said_aloud(make_record, tmp_path):
    html, markdown = write_report([make_record(errors={"tensorrt": "it is not here"})], tmp_path)
    assert "tensorrt failed." in seen(html).text and "> **tensorrt failed.** it is not here" in markdown.read_text()


def test_the_newest_record_is_shown_and_older_ones_over_commits(make_record):
    make_record(day=1)
    make_record(day=2, results=edit_results(diffusers=500, openvino=110))
    folder = make_record(day=3, results=edit_results(diffusers=500, openvino=100)).parent
    make_record(day=4, name="startup-menagerie", results={})
    title, lead, sections = compose([r for r in read_records([folder]) if r.kind == "edit"])
    assert title == "HiPer, measured" and "A <fast> one, 2 cores. 2026-01-03, commit 333333333." in lead
    first, last = sections
    assert first.tiles[0].value[0] in "45" and first.records[0].path.name.endswith("20260103T000000Z.json")
    (plot,) = last.blocks
    assert plot.caption == "edit-menagerie over commits" and plot.svg.count("<circle") == 3 * 2


def test_other_machines_and_settings_are_no_history(make_record):
    make_record(day=1, hardware={"cpu": "another", "cores": 2, "load_average": 0, "memory_bytes": 1, "gpus": []})
    make_record(day=2, settings={"model": "menagerie", "image_size": 128, "steps": 50, "rounds": 30})
    records = read_records([make_record(day=3).parent])
    assert len(Book(records).history(records[-1])) == 1


def test_floors_are_the_operations_at_the_peak(make_record):
    device = {"model": "menagerie", "device": "cpu"}
    record = read_record(make_record())
    path = make_record("floors-menagerie", FLOORS, settings=device)
    floors = find_floors(record, [read_record(path)])
    # Two prompts, thirty steps of two rows, one picture; weights of 4 MiB come from memory at every call.
    assert floors.edit_ms("openvino", 30) == pytest.approx(1e3 * max((2e8 + 60e9 + 3e9) / 1e12, 32 * 4 * 2**20 / 1e10))
    assert floors.edit_ms("openvino-fast", 30) == pytest.approx(1e3 * max(63.2e9 / 4e12, 16 * 4 * 2**20 / 1e10))
    assert floors.step_ms("openvino", 2) == pytest.approx(2)
    assert floors.fit_step_ms("published", 4) == pytest.approx(12) and floors.fit_step_ms("fp32", 4) == pytest.approx(8)
    other = make_record("floors-menagerie", FLOORS, day=2, settings=device, model_digest="e" * 64)
    assert find_floors(record, [read_record(other)]) is None


def test_a_figure_below_its_floor_is_doubted(make_record):
    make_record("floors-menagerie", FLOORS, settings={"model": "menagerie", "device": "cpu"})
    path = make_record(results=edit_results(diffusers=500, openvino=20))
    edit = compose(read_records([path.parent]))[2][0]
    loud = [block.text for block in edit.blocks if getattr(block, "loud", False)]
    assert len(loud) == 1 and loud[0].startswith(
        "openvino lies below its floor, so the peaks were measured on a busier"
    )


def test_servers_are_shown_scenario_by_scenario(make_record):
    samples = {"samples_ms": [200.0, 210.0, 220.0]}
    played = {
        "edits": 24,
        "failures": 0,
        "p50_ms": 900.0,
        "p95_ms": 1500.0,
        "slowest_ms": 1600.0,
        "latencies_ms": [[900.0]],
    }
    servers = {"diffusers": played | {"edits_per_s": 2.0}, "hiper-serve": played | {"edits_per_s": 7.0}}
    results = {
        "SingleStream": {"diffusers": samples, "hiper-serve": samples, "bare engine": samples},
        "overhead": {"over bare engine": {"median_ms": 2.0, "interval_ms": [1.5, 2.5], "differences_ms": [2.0]}},
        **dict.fromkeys(SERVED, servers),
        "Server": {name: found | {"plays": [{"in_time": True}]} for name, found in servers.items()},
        "pictures": {"diffusers": {"worst_psnr_db": 100.0}, "hiper-serve": {"worst_psnr_db": 21.4}},
        "batches": {
            "Offline": {"batch_rows": {"calls": 3, "mean": 7.5}, "batch_distinct_tails": {"calls": 3, "mean": 4}}
        },
    }
    path = make_record(
        "serve-menagerie",
        results,
        settings={"model": "menagerie", "bound_ms": 2000.0, "edits": 12, "offline_rounds": 2, "precision": "fast"},
    )
    serve = compose([read_record(path)])[2][0]
    assert serve.tiles[0].value == "3.50x" and serve.tiles[0].meaning == "throughput of diffusers"
    scenarios, pictures, overhead, batches = (block for block in serve.blocks if isinstance(block, Table))
    assert scenarios.rows[1] == ["Offline: hiper-serve", "7.00", "900", "1,500", "-", "1,600", "24"]
    assert scenarios.rows[-1][:2] == ["Server: hiper-serve", "≥ 7.00"]
    assert pictures.rows == [["diffusers", "fp32", "100"], ["hiper-serve", "fast", "21"]]
    assert serve.blocks[1].caption == "Offline: 12 edits there at once, 2 times"
    readme = tables([read_record(path)])
    assert "| 12 edits there at once, 2 times, edits/s |" in readme
    assert "| hiper-serve, fast | 210 [200, 220] | 7.00 | ≥ 7.00 | 21 |" in readme
    assert overhead.rows == [["over bare engine", "2.00 [1.50, 2.50]"]] and batches.rows == [
        ["Offline", "7.50", "4.00"]
    ]


def test_the_gate_counts_pictures(make_record):
    shares = {"species": 0.5, "pose": 1.0}
    results = {"vae_psnr_db": 27.0, "probe_on_rendered": shares, "from_detailed_text": {"collar": 0.5}}
    gate = compose([read_record(make_record("fidelity-gate-menagerie", results, settings={"samples": 40}))])[2][0]
    [table] = gate.blocks
    assert (
        table.rows[0][0] == "rendered: species" and table.rows[0][1].startswith("50.0 [") and table.rows[0][2] == "40"
    )
    assert table.rows[1][1] == "100" and table.rows[2][2] == "20"


def test_a_batch_is_a_row_with_and_without_tails_of_its_own(make_record):
    one = {"samples_ms": [10.0, 11.0], "median_ms": 10.5, "edit_steps_per_s": 95.0}
    four = {"distinct": one, "shared": one}
    results = {"diffusers": {"1": {"shared": one}}, "openvino": {"1": {"distinct": one}, "4": four}}
    rows = compose([read_record(make_record("rows-menagerie", results))])[2][0]
    plot, table = rows.blocks
    assert [row[:2] for row in table.rows] == [["diffusers", "1"], ["openvino", "1"], ["openvino", "4"]]
    assert table.rows[0][2] == "-" and table.rows[1][3] == "-" and rows.tiles[0].value == "1.00x"
    assert plot.svg.count("dashed") == 0 and plot.svg.count("<circle") == 4


def test_percentiles_need_samples(make_record):
    table = next(block for block in compose([read_record(make_record())])[2][0].blocks if isinstance(block, Table))
    assert table.rows[0][2] != "-" and table.rows[0][3] == "-"


def test_figures_carry_their_samples_and_which_way_is_up(make_record):
    figures = figures_of(read_record(make_record()))
    assert len(figures["openvino"].samples) == 30 and figures["openvino"].less_is_better
    speed_up = figures["openvino / speed_up"]
    assert not speed_up.less_is_better and speed_up.estimate.value == pytest.approx(500 / 220, rel=0.02)
    assert figures["openvino / resident_bytes"].samples == (300,) and figures["openvino / resident_bytes"].unit == "MiB"


def test_every_record_of_the_project_has_figures():
    for record in read_records([RECORDS]):
        figures = figures_of(record)
        assert figures and all(figure.samples for figure in figures.values()), record.path.name


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"is no record: Expecting property name"),
        ("[]", r"has format None but must be hiper\.record/1 or hiper\.record/2; measure again$"),
        ('{"format": "hiper.record/9"}', r"has format 'hiper\.record/9' but must be"),
        ('{"format": "hiper.record/1", "settings": {}, "results": {}}', r"lacks hardware, versions; measure again$"),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(tmp_path, content, sentence):
    path = tmp_path / "x-20260101T000000Z.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=sentence):
        read_records([tmp_path])


def test_a_folder_without_records_is_refused(tmp_path):
    (tmp_path / "suite.json").write_text("{}")
    with pytest.raises(RecordError, match=r"holds no record; name a folder that hiper-bench run filled$"):
        read_records([tmp_path])


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50)
@given(ANY_JSON)
def test_no_json_breaks_the_reader(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError):
        read_record(path)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low, length):
    axis = Axis(low, low + length)
    assert 1 <= len(axis.ticks) <= 7
    assert all(low - 1e-6 * length <= tick <= low + length * (1 + 1e-6) for tick in axis.ticks)
    assert axis.at(low) == 0 and axis.at(low + length) == pytest.approx(1)


def test_plots_are_drawn_to_scale():
    svg = ElementTree.fromstring(bars([Bar("half", 50, 45, 55, floor=25), Bar("whole", 100, 100, 100)], "ms"))
    half, whole = (float(rect.get("width")) for rect in svg.iter("rect"))
    assert half == pytest.approx(whole / 2, abs=0.1)
    svg = ElementTree.fromstring(stacked([Stack("one", [("a", 1), ("b", 3)])], "ms"))
    *_, a, b = (float(rect.get("width")) for rect in svg.iter("rect"))
    assert b == pytest.approx(3 * a, abs=0.2)
    svg = ElementTree.fromstring(lines([Line("up", [(0, 0), (10, 5)], "us")], Frame("x", "y", less_is_up=True)))
    first, last = (float(dot.get("cy")) for dot in svg.iter("circle"))
    assert first < last


def test_notes_do_not_lie_on_each_other():
    crowd = Line("", [(1, 1), (1, 1.001), (1, 1.002), (0, 0)], "us", notes=["first", "second", "third", "alone"])
    svg = ElementTree.fromstring(lines([crowd], Frame("x", "y")))
    shown = [(float(t.get("x")), float(t.get("y"))) for t in svg.iter("text") if t.text in crowd.notes]
    assert len(set(shown)) == len(shown) >= 3


def test_every_plot_of_the_project_is_well_formed():
    for section in compose(read_records([RECORDS]))[2]:
        for block in section.blocks:
            for plot in [block] if isinstance(block, Plot) else getattr(block, "plots", []):
                ElementTree.fromstring(plot.svg)

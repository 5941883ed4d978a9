"""A README that the test wrote, and the project's own."""

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.record import RECORDS, ROOT
from benchmarks.report.doubts import SHIPPED, doubts, shipped_digest
from benchmarks.report.readme import BEGIN, END, tables, update_readme, updated
from benchmarks.report.records import RecordError, newest, read_record, read_records

README = f"# A project\n\nBefore.\n{BEGIN}\nold\n{END}\nAfter.\n"


def test_the_tables_are_those_of_the_records_and_the_rest_stays(make_record, tmp_path):
    records, readme = make_record().parent, tmp_path / "README.md"
    readme.write_text(README)
    assert update_readme(readme, [records]) and not update_readme(readme, [records])
    content = readme.read_text()
    assert content.startswith(f"# A project\n\nBefore.\n{BEGIN}\n| an edit on menagerie, 30 steps, 128 pixels | ms |")
    assert content.endswith(
        f"`edit-menagerie-20260101T000000Z.json`: commit 111111111, other weights; A <fast> one, 2 cores, load 0.1; "
        f"95 % intervals in brackets.\n{END}\nAfter.\n"
    )
    assert "| s to the first picture | MiB | dB to the first |" in content
    assert updated(content, read_records([records])) == content


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"model_digest": shipped_digest()}, []),
        ({"model_digest": None}, ["unknown weights"]),
        ({"model_digest": "d" * 64, "dirty": True}, ["files differed from it", "other weights"]),
        ({"model_digest": None, "settings": {"model": "sd1"}}, []),
    ],
)
def test_a_source_says_what_makes_its_figures_doubtful(make_record, changes, reasons):
    assert doubts(read_record(make_record(**changes))) == reasons


def test_a_readme_without_marks_is_refused_and_untouched(make_record, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# A project\n")
    with pytest.raises(RecordError, match=r"README\.md lacks the lines '<!-- benchmarks: written by"):
        update_readme(readme, [make_record()])
    assert readme.read_text() == "# A project\n"


def test_the_command_says_whether_it_changed_anything(make_record, tmp_path):
    records, readme = str(make_record().parent), tmp_path / "README.md"
    readme.write_text(README)
    arguments = ["report", records, "--readme", str(readme)]
    said = [CliRunner().invoke(app, arguments).stderr.replace("\n", " ") for _ in range(2)]
    assert "is changed" in said[0] and "was up to date" in said[1]


def test_records_of_every_script_have_a_table():
    made = tables(read_records([RECORDS]))
    for words in ("an edit on", "a fit step of", "a whole fit on", "held-out animals"):
        assert words in made


def test_what_is_published_of_menagerie_can_be_repeated_with_what_ships():
    published = [record for record in newest(read_records([RECORDS])) if record.settings.get("model") == SHIPPED]
    assert {record.path.name: reasons for record in published if (reasons := doubts(record))} == {}


def test_the_readme_says_what_the_records_say():
    readme = (ROOT / "README.md").read_text()
    if BEGIN not in readme:
        pytest.skip("the README has no tables of records")
    assert updated(readme, read_records([RECORDS])) == readme, (
        "the README's tables are old; run: hiper-bench report benchmarks/records --readme README.md"
    )

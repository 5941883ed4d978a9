"""Oracle: the renderer, which knows what a picture shows; and statistics with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import bootstrap
from benchmarks.fidelity.alignment import align, subject_error
from benchmarks.fidelity.cases import EDITS, Shot, held_out_case, shots
from benchmarks.fidelity.methods import Outcome, Setting
from benchmarks.fidelity.scores import Score, judge
from benchmarks.fidelity.summary import summarise
from hiper.images import from_uint8
from hiper.menagerie.probe import CLASSES, VALUES, Reading, true_outputs
from hiper.menagerie.render import render
from hiper.menagerie.world import PLACES, Framing


class AllKnowing:
    """A probe that is told what each picture shows: (identity, content, framing)."""

    def __init__(self, facts):
        self.facts = facts

    def read(self, images):
        assert len(images) == len(self.facts)
        classes, values = zip(*(true_outputs(*fact) for fact in self.facts), strict=True)
        return Reading(
            dict(zip(CLASSES, torch.tensor(classes).T, strict=True)),
            dict(zip(VALUES, torch.tensor(values).nan_to_num().T, strict=True)),
        )


def judge_as(shot, identity, content, framing):
    images = from_uint8([render(identity, content, framing)])
    [score] = judge(AllKnowing([(identity, content, framing)]), Outcome(Setting("text"), [shot], images))
    return score


@pytest.mark.parametrize("index", range(8))
def test_alignment_finds_the_framing_and_leaves_no_error(index):
    case = held_out_case(index)
    rng = np.random.default_rng(index)
    x, ground, scale = rng.normal((case.framing.x, case.framing.ground, case.framing.scale), 0.02)
    found = align(case.picture(), case.identity, case.source, Framing(x, ground, scale, not case.framing.mirrored))
    assert found.mirrored == case.framing.mirrored
    assert (found.x, found.ground) == pytest.approx((case.framing.x, case.framing.ground), abs=0.005)
    assert found.scale == pytest.approx(case.framing.scale, abs=0.01)
    assert subject_error(case.picture(), case.identity, case.source, found) < 6


def test_alignment_survives_a_reading_that_makes_no_sense():
    case = held_out_case(0)
    found = align(case.picture(), case.identity, case.source, Framing(x=9.0, ground=-3.0, scale=0.0))
    assert 0 < subject_error(case.picture(), case.identity, case.source, found) <= 255


def test_scenery_is_no_part_of_an_identity_but_another_animal_is():
    case, stranger = held_out_case(0), held_out_case(1)
    for place in PLACES:
        elsewhere = render(case.identity, replace(case.source, place=place), case.framing)
        assert subject_error(elsewhere, case.identity, case.source, case.framing) < 0.01
    assert subject_error(case.picture(), stranger.identity, case.source, case.framing) > 20


def test_a_perfect_edit_succeeds_without_error():
    shot = Shot(held_out_case(3), "pose", 0)
    score = judge_as(shot, shot.case.identity, shot.target, shot.case.elsewhere)
    assert score.asked and score.success and all(score.agrees.values())
    assert score.identity_error == score.subject_error < 6
    assert score.coat_error == pytest.approx(0, abs=1e-3)


def test_the_source_is_the_right_animal_but_no_edit():
    shot = Shot(held_out_case(3), "pose", 0)
    score = judge_as(shot, shot.case.identity, shot.case.source, shot.case.framing)
    assert not score.asked and not score.success
    assert score.subject_error < 6 < score.identity_error


def test_what_was_not_asked_to_change_must_hold():
    shot = Shot(held_out_case(3), "pose", 0)
    place = next(place for place in PLACES if place != shot.target.place)
    score = judge_as(shot, shot.case.identity, replace(shot.target, place=place), shot.case.elsewhere)
    assert score.asked and not score.success


def test_another_animal_may_do_what_is_asked():
    shot, stranger = Shot(held_out_case(3), "place", 0), held_out_case(4).identity
    score = judge_as(shot, stranger, shot.target, shot.case.elsewhere)
    assert score.success and score.identity_error > 20 and score.coat_error > 20
    assert not all(score.agrees.values())


def test_cases_are_fixed_and_edits_change_what_their_names_say():
    assert held_out_case(7) == held_out_case(7) != held_out_case(8)
    for case in map(held_out_case, range(20)):
        for edit, target in case.targets.items():
            changed = {name for name, value in vars(target).items() if value != getattr(case.source, name)}
            assert changed == set(EDITS[edit])


def test_shots_share_their_noise_between_edits_but_not_between_animals_or_seeds():
    takes = shots([held_out_case(0), held_out_case(1)], seeds=2)
    assert [(shot.case.index, shot.edit, shot.seed) for shot in takes[:3]] == [
        (0, "pose", 0),
        (0, "pose", 1),
        (0, "place", 0),
    ]
    assert sorted({shot.noise_seed for shot in takes}) == [0, 1, 1000, 1001]


def test_interval_of_a_mean_is_that_of_the_normal_theory():
    values = np.random.default_rng(1).normal(3, 2, 400)
    reach = 1.96 * values.std() / 20
    found = bootstrap.mean(values)
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.02)


def test_ratio_is_taken_in_pairs():
    values = np.random.default_rng(1).uniform(1, 2, 50)
    assert bootstrap.ratio(0.3 * values, values) == pytest.approx((0.3, 0.3, 0.3))
    with pytest.raises(ValueError):
        bootstrap.ratio(values, values[1:])


def test_interval_of_a_median_is_that_of_order_statistics():
    values = np.sort(np.random.default_rng(1).exponential(1, 200))
    found = bootstrap.median(values)
    # Binomial bounds on the ranks of the median, Conover 1999.
    assert found.value == np.median(values)
    assert values[84] <= found.low <= values[88] and values[111] <= found.high <= values[116]


def test_runs_that_differ_widen_the_interval_of_a_ratio():
    random = np.random.default_rng(1)
    quiet, moved = [random.normal(10, 0.1, 30) for _ in range(4)], [random.normal(m, 0.1, 30) for m in (9, 10, 10, 11)]
    together, apart = bootstrap.median_ratio(quiet, quiet), bootstrap.median_ratio(moved, quiet)
    assert together.value == 1 and together.high - together.low < 0.02
    assert apart.value == pytest.approx(1, abs=0.03) and apart.high - apart.low > 0.1
    assert bootstrap.median_ratio([[20.0]], [[10.0]]) == (2, 2, 2)


def score(method, identity, edit, success, error, belly=True, value=0.0):
    return Score(method, "", value, identity, edit, 0, success, success, error, error, error, {"belly": belly})


def test_summary_averages_over_identities_and_compares_with_text_alone():
    scores = [
        score(method, identity, edit, success=identity > 0 or edit == "pose", error=error, belly=method == "truth")
        for method, error in (("truth", 1.0), ("text", 40.0), ("hiper", 10.0))
        for identity in range(4)
        for edit in EDITS
    ]
    results = summarise(scores)
    assert results["trusted"] == ["belly"] and results["probe_right_on_truth"] == {"belly": 1}
    hiper = results["settings"][-1]
    assert hiper["edits"]["pose"]["success"] == {"value": 1, "low": 1, "high": 1}
    assert hiper["edits"]["all"]["success"]["value"] == pytest.approx(13 / 16)
    assert hiper["by_identity"]["success"] == [0.25, 1, 1, 1] and hiper["marks"]["value"] == 0
    assert results["to_text"]["hiper"]["pose"]["identity_error"]["value"] == 0.25
    assert results["to_text"]["hiper"]["all"]["success"]["value"] == 1


def test_summary_trusts_no_probe_that_was_not_tested():
    results = summarise([score("hiper", 0, edit, True, 1.0) for edit in EDITS])
    assert results["trusted"] == [] and results["settings"][0]["marks"] is None
    assert results["to_text"] == {}

"""The calibration experiments run, and their table says what was not met."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.calibration import (
    accuracy_intervals,
    counting,
    machine,
    sessions,
    simulated_sessions,
)
from experiments.rows import rate
from experiments.suite import Part
from experiments.suites import CALIBRATION as SUITE
from tests.experiments.stored import RECORDS, run_quick

# --- the simulated machine -------------------------------------------------------------------


def scenario(**effects: float) -> machine.Scenario:
    return machine.Scenario("planted", "", **effects)


def test_the_order_is_rotated_and_drift_belongs_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROCESS_SD", 0.0)
    monkeypatch.setattr(machine, "BLOCK_SD", 0.0)
    samples, drift = machine.draw(scenario(walk=0.1), (1, 3, 4), np.random.default_rng(0))
    # Places are counted from the start; in round r the entry (place + r) mod 4 stands at `place`.
    for number in range(3):
        for place in range(4):
            entry = (place + number) % 4
            mean = samples[0, number, entry].mean()
            assert mean == pytest.approx(drift[0, 4 * number + place])
    assert np.unique(samples).size == 12 * machine.BLOCKS


def test_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROCESS_SD", 0.0)
    monkeypatch.setattr(machine, "BLOCK_SD", 0.0)
    rising = np.arange(2 * 3 * machine.BLOCKS, dtype=float)[None, :]
    monkeypatch.setattr(machine, "_drift", lambda *_: rising)
    samples, _ = machine.draw(scenario(), (1, 2, 3), np.random.default_rng(0))
    assert samples[0, 0, :, 0].tolist() == [0, 1, 2]
    assert samples[0, 0, :, 1].tolist() == [3, 4, 5]
    # Rotated by one place: the last entry of the first round begins the second.
    assert samples[0, 1, :, 0].argmin() == 1


def test_neighbouring_processes_are_correlated() -> None:
    blocks, _ = machine.draw(scenario(neighbours=0.5), (4000, 1, 2), np.random.default_rng(0))
    samples = np.median(blocks, axis=3)
    found = np.corrcoef(samples[:, 0, 0], samples[:, 0, 1])[0, 1]
    # The blocks' own noise is not shared: its median of nine has a variance of about 0.166 · 0.02².
    shared = 0.04**2 / (0.04**2 + 0.166 * 0.02**2)
    assert found == pytest.approx(0.5 * shared, abs=0.04)
    assert samples.std() == pytest.approx(0.04 / math.sqrt(shared), rel=0.03)


def test_bursts_slow_down_the_share_that_was_asked_for() -> None:
    found, _ = machine.draw(scenario(slow_processes=0.1), (4000, 1, 2), np.random.default_rng(0))
    still, _ = machine.draw(scenario(), (4000, 1, 2), np.random.default_rng(0))
    samples, calm = np.median(found, axis=3), np.median(still, axis=3)
    assert np.mean(samples > 0.25) == pytest.approx(0.1 * 0.63, abs=0.015)
    assert np.mean(calm > 0.25) == 0


def test_the_true_median_follows_the_drift() -> None:
    drift = np.array([[0.0] * 4, [0.3] * 4, [0.0, 0.1, 0.2, 0.3]])
    truths = machine.true_medians(scenario(), drift, np.random.default_rng(0))
    assert truths == pytest.approx([0.0, 0.3, 0.15], abs=0.003)


# --- what is summed exactly ------------------------------------------------------------------


def test_discordant_shares_give_back_what_was_asked_for() -> None:
    shares = accuracy_intervals.discordant_shares(0.8, 0.05, 0.5)
    assert shares is not None
    better, worse = shares
    assert better - worse == pytest.approx(0.05)
    both = 0.8 - worse
    correlation = (both - 0.8 * 0.85) / math.sqrt(0.8 * 0.2 * 0.85 * 0.15)
    assert correlation == pytest.approx(0.5)
    assert accuracy_intervals.discordant_shares(0.98, 0.03, 0.5) is None


def test_the_closed_form_of_bot_linear() -> None:
    # 49 positions of 1,280 channels at width 320 and 4 heads.
    assert counting.closed_form(1280, 49, 4) == 49 * (2 * 1280 * 320 + 3 * 320**2 + 2 * 320 * 80)


# --- command and table -----------------------------------------------------------------------


def test_rates_carry_their_exact_interval() -> None:
    assert rate(0, 40) == "0.00 % (0.00 %–8.81 %, 0 of 40)"
    assert rate(92, 2000) == "4.60 % (3.72 %–5.61 %, 92 of 2,000)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "accuracy_intervals",
        pytest.param("simulated_sessions", marks=pytest.mark.ci),
        pytest.param("speed_families", marks=pytest.mark.ci),
        pytest.param("accuracy_verdicts", marks=pytest.mark.ci),
        pytest.param("variant_intervals", marks=pytest.mark.ci),
    ],
)
def test_a_quick_run_is_recorded_and_rendered(tmp_path: Path, name: str) -> None:
    run_quick(SUITE, name, tmp_path)


@pytest.mark.slow
@pytest.mark.ci
def test_counting_names_every_remainder(tmp_path: Path) -> None:
    record, code = run_quick(SUITE, "counting", tmp_path)
    assert code == 0
    check_remainders(record, tmp_path)


def test_stored_counts_name_every_remainder(tmp_path: Path) -> None:
    shutil.copy(RECORDS / "calibration" / "counting.json", tmp_path)
    assert SUITE.main(["--table", "--out", str(tmp_path)]) == 0
    check_remainders(json.loads((tmp_path / "counting.json").read_text("utf8")), tmp_path)


def check_remainders(record: dict, folder: Path) -> None:
    plain, hybrid = record["outcome"]
    assert (plain["bot_linear"], hybrid["bot_linear"]["feature_map"]) == (None, [512, 7, 7])
    assert len({hybrid["bot_linear"][key] for key in ("fvcore", "closed_form")}) == 1
    text = (folder / "README.md").read_text(encoding="utf8")
    assert "**3 of 3 bars met.**" in text
    assert "batch_norm" in text


def counted(gmacs_flop_counter: float) -> dict:
    macs = {
        "gmacs": 1.8186,
        "gmacs_matrix": 1.8136,
        "gmacs_flop_counter": gmacs_flop_counter,
        "uncounted_flop_counter": {"batch_norm": 0.005},
        "uncounted_fvcore": {"aten::add_": 8},
    }
    return {
        "experiment": "counting",
        "command": "python -m experiments.calibration counting",
        "parameters": {"gate_gmacs": [1.81, 1.82]},
        "outcome": [{"variant": "ResNet18", "macs": macs, "bot_linear": None}],
    }


@pytest.mark.parametrize(("flop_counter", "met"), [(1.8136, True), (1.80, False)])
def test_a_bar_that_is_not_met_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flop_counter: float, met: bool
) -> None:
    (tmp_path / "counting.json").write_text(json.dumps(counted(flop_counter)), encoding="utf8")
    assert SUITE.main(["--table", "--out", str(tmp_path)]) == (0 if met else 1)
    text = (tmp_path / "README.md").read_text(encoding="utf8")
    assert ("**NO** |" in text) is not met
    assert ("Not met:" in text) is not met
    assert ("NOT MET" in capsys.readouterr().out) is not met
    assert f"**{1 + met} of 2 bars met.**" in text


def session_record(excludes_one: int, holds_truth: int) -> dict:
    planted = [
        {
            "slowdown": slowdown,
            "excludes_one": excludes_one,
            "holds_truth": holds_truth,
            "slower": 10,
            "faster": 5,
        }
        for slowdown in simulated_sessions.SLOWDOWNS
    ]
    case = {"rounds": 10, "sessions": 2000, "median_holds_truth": 1900, "planted": planted}
    names = {"calm": False, "wild": True}
    return {
        "parameters": {"scenarios": [{"name": n, "limit": limit} for n, limit in names.items()]},
        "outcome": [{"scenario": name, **case} for name in names],
    }


@pytest.mark.parametrize(
    ("excludes_one", "holds_truth", "alarms_met", "coverage_met"),
    [(100, 1900, True, True), (59, 1941, False, False), (121, 1859, False, False)],
)
def test_bars_of_simulated_sessions(
    excludes_one: int, holds_truth: int, alarms_met: bool, coverage_met: bool
) -> None:
    rows = simulated_sessions.rows(session_record(excludes_one, holds_truth))
    calm, wild = rows[:5], rows[5:]
    assert [row.met for row in calm] == [alarms_met, None, coverage_met, True, None]
    assert [row.met for row in wild] == [None] * 5
    assert "15 of 2,000" in calm[1].found


def test_an_unknown_experiment_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert SUITE.main(["countng", "--out", str(tmp_path)]) == 2
    assert "no experiment 'countng': choose from simulated_sessions" in capsys.readouterr().err


def test_the_table_of_no_records(tmp_path: Path) -> None:
    path, rows = SUITE.render(tmp_path)
    assert rows == []
    assert "0 of 0 bars met" in path.read_text(encoding="utf8")


def test_experiments_without_a_record_are_named(tmp_path: Path) -> None:
    path, _ = SUITE.render(tmp_path)
    assert "No record of simulated_sessions, " in path.read_text(encoding="utf8")
    committed = Path(__file__).parents[2] / "reports" / "calibration"
    have = {record["experiment"] for record in SUITE.load(committed)}
    text = (committed / "README.md").read_text(encoding="utf8")
    assert ("No record of" in text) == (have != set(SUITE.experiments))


def test_sessions_go_on_where_they_were_broken_off(
    tmp_path: Path, registry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    blocks = {name: {"0": [0.1, 0.1]} for name in (*sessions.NAMES, "Twin_1 (A/A)")}

    def one(seed: int, rounds: int) -> dict:
        ran.append(seed)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return {"seed": seed, "block_seconds": blocks}

    def measure(**changes: int) -> dict:
        head = SUITE.head("sessions", False)
        head["parameters"] |= {"sessions": 4, **changes}
        return sessions.measure(head["parameters"], Part(tmp_path / "part.json", head))

    monkeypatch.setattr(sessions, "_run_one", one)
    with pytest.raises(KeyboardInterrupt):
        measure()
    record = measure()
    assert ran == [0, 1, 2, 2, 3]
    assert [one["seed"] for one in record["sessions"]] == [0, 1, 2, 3]
    measure(rounds=11)
    assert ran[5:] == [0, 1, 2, 3]


def test_a_record_names_no_folder_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["experiments/calibration/__main__.py", "counting", "--out", "/home/me/x", "--quick"]
    monkeypatch.setattr("sys.argv", asked)
    found = SUITE.head("counting", True)
    assert found["command"] == "python -m experiments.calibration counting --quick"

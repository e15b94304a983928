"""Training in several processes, as torchrun starts them, against one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from showattend.config import load_config
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError, UserError
from showattend.model.checkpoint import load, load_tensors
from showattend.system.processes import Processes, join, others
from showattend.training.gradients import SharedGradients
from showattend.training.state import _steps_done
from showattend.training.trainer import train

STEPS = 20
BATCH = 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps of two processes with four images each, the last of them incomplete."""
    folder = tmp_path_factory.mktemp("several")
    data = write_toy(folder / "toy", images=220)
    count = sum('"train"' in line for line in data.read_text().splitlines())
    keep = (STEPS - 1) * 2 * BATCH + 5
    assert keep <= count
    values = {
        "data": {
            "path": str(data), "cache": str(folder / "cache"), "min_count": 1,
            "mirror": True, "train_images": keep, "val_images": 7,
        },
        "encoder": {"size": 64},
        "decoder": {
            "embedding_dim": 32, "hidden_dim": 32, "attention_dim": 32,
            "dropout": 0.0, "embedding_dropout": 0.0, "feature_dropout": 0.0,
        },
        "train": {
            "epochs": 1, "batch_size": BATCH, "lr": 1e-4, "precision": "fp32", "ema": 0.9,
            "label_smoothing": 0.1, "device": "cpu",
        },
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


ONE_OF_THEM = """
import gc
import sys
import time
from pathlib import Path
from showattend.cli import main
gc.disable()  # nothing may depend on when it runs
code = main()
def name(task):
    try:
        return task.joinpath("comm").read_text()
    except OSError:  # it has ended just now
        return ""
def threads():
    return any("gloo" in name(task) for task in Path("/proc/self/task").glob("*"))
end = time.monotonic() + 5  # a thread that has been joined may be listed for a moment
while (left := threads()) and time.monotonic() < end:
    time.sleep(0.05)
sys.exit(code or ("threads of the group are left" if left else 0))
"""  # threads that are left race with the end of Python: "terminate called", now and then


def several(config: Path, *overrides: str, wait: bool = True) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
        "--no-python", sys.executable, "-c", ONE_OF_THEM, "train", str(config), *overrides,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        start_new_session=True,
    )  # fmt: skip
    if wait:
        _, told = run.communicate(timeout=900)
        assert run.returncode == 0, told
    return run


def kill(run: subprocess.Popen[str]) -> None:
    """As if the machine lost its power: the launcher and all that it has started."""
    workers = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, text=True
    ).stdout.split()
    for pid in (str(run.pid), *workers):
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.wait()


def figures(folder: Path) -> dict[str, float]:
    (entry,) = json.loads((folder / "training.json").read_text())["history"]
    return {key: value for key, value in entry.items() if key not in ("phase", "seconds")}


def same(one: Path, other: Path) -> None:
    """The differences of weights are at most 1e-5 of their norm, those of figures of their size.

    The optimizer's moments are compared too, for Adam's weights would not show gradients that are
    all twice too large; some of these are sums that nearly cancel, and round to 2e-5.
    """
    found, wanted = (load_tensors(out / "state.safetensors", "a state")[0] for out in (one, other))
    assert found.keys() == wanted.keys() | {key for key in found if key.startswith("random.")}
    for key, value in wanted.items():
        if value.is_floating_point():
            bound = 1e-4 if key.startswith("optimizer.") else 1e-5
            assert (found[key] - value).norm() <= bound * value.norm(), key
    assert figures(one) == pytest.approx(figures(other), rel=1e-5)


@pytest.fixture(scope="module")
def alone(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with twice the batch."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(load_config(config, [f"train.out={out}", f"train.batch_size={2 * BATCH}"]))
    assert load(out).record["history"][0]["loss"] > 0
    return out


def test_two_processes_are_one_with_twice_the_batch(
    config: Path, alone: Path, tmp_path: Path
) -> None:
    several(config, f"train.out={tmp_path / 'two'}", f"data.cache={tmp_path / 'cache'}")
    same(tmp_path / "two", alone)


@pytest.mark.slow
def test_two_processes_refuse_once(config: Path, alone: Path) -> None:
    again = several(config, f"train.out={alone}", wait=False)
    _, told = again.communicate(timeout=900)
    assert again.returncode != 0
    assert told.count("holds a run already") == 1  # not once a process


def test_accumulated_batches_are_one_batch(config: Path, alone: Path, tmp_path: Path) -> None:
    train(load_config(config, [f"train.out={tmp_path}", "train.accumulate=2"]))
    same(tmp_path, alone)


BLOCKS = (
    "decoder.embedding_dim=512", "decoder.attention_dim=512", "decoder.layers=1", "decoder.heads=2",
    "decoder.feedforward_dim=32", "decoder.sublayer_dropout=0",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["luong", "updown", "transformer"])
def test_two_processes_train_other_decoders_as_one_does(
    kind: str, config: Path, tmp_path: Path
) -> None:
    changes = [f"decoder.kind={kind}", *(BLOCKS if kind == "transformer" else ())]
    whole = [f"train.out={tmp_path / 'one'}", f"train.batch_size={2 * BATCH}"]
    train(load_config(config, [*changes, *whole]))
    several(config, f"train.out={tmp_path / 'two'}", *changes)
    same(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_processes_train_several_maps_as_one_does(config: Path, tmp_path: Path) -> None:
    """With a loss of the attention's own, averaged over captions."""
    changes = ["attention.kind=multi_hop", "attention.hops=3", "attention.hop_penalty=0.5"]
    whole = [f"train.out={tmp_path / 'one'}", f"train.batch_size={2 * BATCH}"]
    train(load_config(config, [*changes, *whole]))
    several(config, f"train.out={tmp_path / 'two'}", *changes)
    same(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_processes_train_stages_of_the_encoder_as_one_does(
    config: Path, tmp_path: Path
) -> None:
    changes = ["encoder.finetune_from=blocks.6", "data.train_images=37"]
    whole = [f"train.out={tmp_path / 'one'}", f"train.batch_size={2 * BATCH}"]
    train(load_config(config, [*changes, *whole]))
    several(config, f"train.out={tmp_path / 'two'}", *changes)
    same(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_processes_go_through_all_phases(config: Path, tmp_path: Path) -> None:
    """The encoder learns in the second epoch only; samples are each process's own."""
    out = tmp_path / "two"
    several(
        config, f"train.out={out}", "encoder.finetune_from=blocks.6", "data.train_images=37",
        "train.epochs=2", "train.finetune_after=1", "train.rare_words=0.1",
        "self_critical.epochs=1", "self_critical.runs=2", "self_critical.start_share=0.1",
        "self_critical.max_length=8",
    )  # fmt: skip
    phases = [entry["phase"] for entry in load(out).record["history"]]
    assert phases[:2] == ["cross-entropy"] * 2
    entries = json.loads((out / "training.json").read_text())["history"]
    assert [entry["phase"] for entry in entries[2:]] == [
        "self-critical", "self-critical", "average", "adjusted",
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_hide_other_words_and_keep_the_same_weights(
    config: Path, tmp_path: Path
) -> None:
    """Each process draws what it hides by itself, so it is not what one process would do."""
    several(config, f"train.out={tmp_path / 'two'}", "decoder.kind=masked", *BLOCKS)
    assert load(tmp_path / "two").record["history"][0]["loss"] > 0


def test_a_process_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("[gloo] Connection closed by peer\n [127.0.0.1]:1234")

    for name in ("barrier", "all_reduce", "all_gather_object", "broadcast_object_list"):
        monkeypatch.setattr(torch.distributed, name, gone)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", gone)
    processes, module = Processes(0, 2), torch.nn.Linear(1, 1)
    for call in (
        processes.wait,
        lambda: processes.gather(1),
        lambda: processes.add([1, 2]),
        lambda: processes.any([True, False]),
        lambda: processes.average([torch.ones(2)]),
        lambda: processes.from_first(lambda: 1),
        lambda: SharedGradients(processes).backward([module], gone, gone, last=True),
    ):
        with pytest.raises(UserError, match="another process of the run has ended") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_other_errors_of_the_backward_pass_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"), others(only=False):
        raise RuntimeError("shapes do not fit")


def test_the_first_process_reads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second one, which is sent what the first one found or stumbled over."""
    sent: list[object] = []
    monkeypatch.setattr(
        torch.distributed, "broadcast_object_list", lambda box, **_: box.__setitem__(slice(2), sent)
    )
    sent[:] = ["found", None]
    assert Processes(1, 2).from_first(lambda: pytest.fail("only the first reads")) == "found"
    sent[:] = [None, UserError("run/state.safetensors: no state to resume")]
    with pytest.raises(UserError, match="no state to resume") as caught:
        Processes(1, 2).from_first(lambda: pytest.fail("only the first reads"))
    assert caught.value.elsewhere  # so that it is reported once


def test_a_folder_is_shared_by_those_who_see_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Processes()
    assert alone.sharing(tmp_path / "one") is alone
    mine = Processes(0, 1)
    first = Processes(0, 2, machine=mine)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda *_, **__: None)
    for other_sees in (True, False):

        def gather(everyone: list[bool], me: bool, other: bool = other_sees, **_: object) -> None:
            everyone[:] = [me, other]

        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
        assert first.sharing(tmp_path / "cache") is (first if other_sees else mine)
        assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "file").write_text("")
    assert first.sharing(tmp_path / "file" / "cache") is mine  # it cannot be written


@pytest.mark.slow
def test_a_process_without_a_gpu_is_told_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for key, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "3")):
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match=r"process 4 .* there are 2; .*--nproc-per-node 2"):
        join(torch.device("cuda"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_several_processes_go_on_where_they_were_killed(
    mode: str, config: Path, tmp_path: Path
) -> None:
    """In hard mode with the baseline, which every process computes from its own captions."""
    changes = ("train.epochs=3", "decoder.dropout=0.3", "train.save_every=0")
    changes += (f"attention.mode={mode}",)
    several(config, f"train.out={tmp_path / 'whole'}", *changes)
    killed = several(config, f"train.out={tmp_path / 'killed'}", *changes, wait=False)
    state = tmp_path / "killed" / "state.safetensors"
    while killed.poll() is None and _steps_done(state.parent) < (0, 5):
        time.sleep(0.01)
    kill(killed)
    killed.communicate()
    assert (0, 5) <= _steps_done(state.parent) < (2, 0)
    several(config, f"train.out={tmp_path / 'killed'}", "--resume", *changes)
    one, other = load(tmp_path / "killed"), load(tmp_path / "whole")
    for key, value in other.weights.items():
        assert torch.equal(one.weights[key], value), key
    states = [
        load_tensors(tmp_path / out / state.name, "a state")[0] for out in ("killed", "whole")
    ]
    for key, value in states[1].items():
        if not key.startswith("random."):
            assert torch.equal(states[0][key], value), key
    with pytest.raises(Exception, match=r"processes was 2, is 1"):
        train(load_config(config, [f"train.out={tmp_path / 'whole'}", *changes]), resume=True)

"""Typed configuration."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from showattend.cli.options import BeamSize
from showattend.config import (
    AttentionConfig,
    Config,
    DecoderConfig,
    SearchConfig,
    defaults,
    expand_configs,
    find_config,
    from_dict,
    keys_of,
    load_config,
    settings,
    to_dict,
)
from showattend.exceptions import ConfigError
from showattend.export import program
from showattend.model.attention import ATTENTIONS
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.model.kinds import options_of
from showattend.model.search_options import SearchOptions
from showattend.training.check import check

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_read_and_open_with_their_command(path: Path) -> None:
    load_config(path)
    first = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in first if line.startswith("#")]
    assert any(f"showattend train configs/{path.name}" in line for line in comments)
    assert first[0].startswith("#")


ABLATION = sorted((Path(__file__).parents[2] / "configs" / "ablation").glob("*.yaml"))


@pytest.mark.parametrize("path", ABLATION, ids=lambda path: path.stem)
def test_a_row_of_the_ablation_says_what_it_adds_and_how_to_run_it(path: Path) -> None:
    check(load_config(path))
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# The paper's" if path == ABLATION[0] else "# + ")
    assert any("showattend compare configs/ablation/*.yaml" in line for line in rest)


def test_each_row_of_the_ablation_changes_one_thing() -> None:
    rows = [load_config(path) for path in (*ABLATION, CONFIGS[0].parent / "flickr8k.yaml")]
    flat = [
        {
            (section, key): value
            for section, values in to_dict(row).items()
            for key, value in values.items()
            if (section, key) != ("train", "out")
        }
        for row in rows
    ]
    changes = [
        {key for key in one if one[key] != other[key]} for one, other in itertools.pairwise(flat)
    ]
    assert all(changes), "a row that changes nothing"
    assert max(map(len, changes[:-1])) <= 3
    # What a row has changed, later ones leave alone.
    assert len(set.union(*changes)) == sum(map(len, changes))
    # The recipe is the last row trained longer, then self-critical training and what follows it.
    longer = {("train", "epochs"), ("train", "validate_from"), ("train", "rare_words")}
    assert {section for section, _ in changes[-1] - longer} == {"self_critical"}


FAMILY = sorted((Path(__file__).parents[2] / "configs" / "family").glob("*.yaml"))


@pytest.mark.parametrize("path", FAMILY, ids=lambda path: path.stem)
def test_the_family_has_one_budget_and_says_how_to_run_it(path: Path) -> None:
    """Data, encoder, optimizer, epochs and dropout are the same; a kind may need a few keys."""
    config, base = load_config(path), load_config(path.with_name("additive.yaml"))
    check(config)
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert any(f"showattend train configs/family/{path.name}" in line for line in rest)
    mine, theirs = to_dict(config), to_dict(base)
    if config.decoder.kind in ("transformer", "masked"):  # they learn at another rate
        mine["train"]["lr"] = theirs["train"]["lr"]
    assert mine["train"].pop("out") == f"runs/family/{path.stem}"
    assert theirs["train"].pop("out") == "runs/family/additive"
    for each in (mine, theirs):
        each["encoder"].pop("self_attention", None)
    for section in ("data", "encoder", "train", "self_critical", "search"):
        assert mine[section] == theirs[section], section
    dropouts = ("dropout", "embedding_dropout", "feature_dropout")
    for key in dropouts if "sublayer_dropout" not in path.read_text(encoding="utf-8") else ():
        assert mine["decoder"][key] == theirs["decoder"][key]


def test_the_family_has_every_attention_and_every_decoder() -> None:
    sections = [to_dict(load_config(path))["attention"] for path in FAMILY]
    assert {section["kind"] for section in sections} == set(ATTENTIONS)
    assert "hard" in {section.get("mode") for section in sections}
    assert any(section.get("sentinel") for section in sections)
    assert {load_config(path).decoder.kind for path in FAMILY} == set(DECODERS)
    assert any(load_config(path).encoder.self_attention for path in FAMILY)


def test_the_transformer_of_the_family_has_as_many_parameters_as_the_lstm() -> None:
    def parameters(config: Config) -> int:
        with torch.device("meta"):
            decoder = build_decoder(
                config.decoder, config.attention, vocabulary_size=2500, feature_dim=1280
            )
        return sum(each.numel() for each in decoder.parameters())

    lstm = parameters(load_config(FAMILY[0].with_name("additive.yaml")))
    transformer = parameters(load_config(FAMILY[0].with_name("transformer.yaml")))
    assert 0.9 < transformer / lstm < 1.1


def test_there_are_configs() -> None:
    assert {"flickr8k", "tiny"} <= {path.stem for path in CONFIGS}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_file_and_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  lr: 1e-3\n  epochs: 7\n")
    assert load_config(write(tmp_path, "train:\n"), ["train.epochs=3"]).train.epochs == 3
    path = write(tmp_path, "train:\n  lr: 1e-3\n  epochs: 7\n")
    config = load_config(path, ["train.epochs=9", "encoder.size=320", "data.images=null"])
    assert config.train.lr == 1e-3  # YAML 1.1 reads it as text
    assert config.train.epochs == 9
    assert config.encoder.size == 320
    assert config.data.images is None
    assert config.decoder == Config().decoder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  epoch: 3\n", r"unknown key train\.epoch; did you mean train\.epochs\?"),
        ("trian: {}\n", r"unknown key trian; did you mean train\?"),
        ("batch_size: 3\n", r"unknown key batch_size; did you mean train\.batch_size\?"),
        (
            "max_length: 9\n",
            r"did you mean data\.max_length or self_critical\.max_length or search\.max_length\?",
        ),
        ("train:\n  size: 3\n", r"unknown key train\.size; known: out, "),
        ("train:\n  epochs: many\n", r"train\.epochs is 'many'; it must be a whole number"),
        ("train:\n  epochs: 1.5\n", r"train\.epochs is 1\.5; it must be a whole number"),
        ("train:\n  lr: true\n", r"train\.lr is True; it must be a number"),
        ("encoder:\n  pretrained: 1\n", r"it must be true or false"),
        ("train: 3\n", r"train must be a section"),
        ("train: 0\n", r"train must be a section"),
        ("train: false\n", r"train must be a section"),
        ("train: []\n", r"train must be a section"),
        ("train: ''\n", r"train is empty"),
        ("data:\n  cache:\n", r"data\.cache is empty .*; give a value, or null to turn it off"),
        ("data:\n  cache: ''\n", r"data\.cache is empty"),
        ("data:\n  cache: ' '\n", r"data\.cache is empty"),
        ("data:\n  path:\n", r"data\.path is empty"),
        ("data:\n  path: [{path: }]\n", r"data\.path\[0\]: path is empty"),
        ("train:\n  out:\n", r"train\.out is empty"),
        ("train:\n  lr:\n", r"train\.lr is empty"),
        ("train:\n  lr: null\n", r"train\.lr is None; it must be a number"),
        ("- a\n", r"must be sections"),
        ("0\n", r"must be sections"),
        ("[]\n", r"must be sections"),
        ("''\n", r"must be sections"),
        ("a: [\n", r"not a YAML file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "config.yaml" in str(caught.value)


@pytest.mark.parametrize("override", ["epochs", "train.epoch=3", "train.lr=[", "train.lr.x=3"])
def test_bad_overrides_are_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, "train:\n  lr: 0.1\n"), [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.cache=", r"'data\.cache=': the value is empty \(an unset variable\?\)"),
        ("data.cache=  ", r"the value is empty"),
        ("data.cache=''", r"data\.cache is empty"),
        ("data.images=", r"the value is empty"),
        ("train.out=", r"the value is empty"),
        ("decoder=", r"the value is empty"),
        ("decoder={gate: }", r"decoder\.gate is empty"),
        ("decoder=0", r"decoder must be a section"),
        ("decoder=false", r"decoder must be a section"),
        ("decoder=[]", r"decoder must be a section"),
        ("decoder=none", r"decoder must be a section"),
        ("decoder=null", r"decoder is a section; null turns off single keys only"),
    ],
)
def test_empty_overrides_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, "decoder:\n  hidden_dim: 8\n"), [override])
    assert "\n" not in str(caught.value)


def test_null_turns_off_and_empty_is_a_default_that_is_null(tmp_path: Path) -> None:
    path = write(tmp_path, "data:\n  cache: null\n  images:\ndecoder:\ntrain: null\n")
    config = load_config(path)
    assert (config.data.cache, config.data.images) == (None, None)
    assert (config.decoder, config.train) == (Config().decoder, Config().train)
    assert load_config(path, ["data.cache=~"]).data.cache is None
    assert load_config(path, ["decoder={gate: none}"]).decoder.gate == "none"
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


def test_a_missing_config_is_one_line() -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        find_config("configs/absent.yaml")


def test_a_shipped_config_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("tiny.yaml").read_text(encoding="utf-8")
    assert find_config("configs/tiny.yaml") == find_config("tiny.yaml")
    assert find_config("configs/ablation/1_plain.yaml").name == "1_plain.yaml"
    for other in (
        "mine/tiny.yaml",
        "ablation/1_plain.yaml",
        "tiny.json",
        ".",
    ):  # never another file than was meant
        with pytest.raises(ConfigError, match="config file"):
            find_config(other)


def test_a_pattern_finds_the_packages_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = expand_configs("configs/ablation/*.yaml")
    assert found[0] == Path("configs/ablation/1_plain.yaml")
    assert len(found) == len({find_config(path) for path in found}) > 5
    for other in ("configs/tiny.yaml", "mine/*.yaml", "configs/absent*.yaml"):
        assert expand_configs(other) == [Path(other)]


def test_every_field_has_help() -> None:
    for section in dataclasses.fields(Config):
        for key in keys_of(section.default_factory):  # type: ignore[arg-type]
            assert len(key.help) > 8, key.name


SECTIONS: dict[str, type] = {"attention": AttentionConfig, "decoder": DecoderConfig}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_of_a_kind_has_the_options_that_its_class_declares(
    section: str, tmp_path: Path
) -> None:
    registry = SECTIONS[section].registry()  # type: ignore[attr-defined]
    for kind, cls in registry.items():
        path = write(tmp_path, f"{section}:\n  kind: {kind}\n")
        values = to_dict(load_config(path))[section]
        assert list(values) == ["kind", *options_of(cls)]
        for name, declared in options_of(cls).items():
            assert values[name] == declared.default
            given = f"{section}.{name}={str(declared.default).lower()}"
            assert getattr(getattr(load_config(path, [given]), section), name) == declared.default
    helped = {key.name: key.help for key in keys_of(SECTIONS[section])}
    assert helped["kind"] == f"one of {', '.join(registry)}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attention.kind=psychic"], r"config\.yaml: attention\.kind is 'psychic'; it must be one"),
        (["attention.kind=3"], r"config\.yaml: attention\.kind is 3; it must be text"),
        (
            ["attention.hops=2"],
            r"attention\.hops is 2, which attention\.kind additive does not take",
        ),
        (["attention.hops=two"], r"attention\.hops is 'two'; it must be a whole number"),
        (["attention.hop=2"], r"unknown key attention\.hop; did you mean attention\.hops\?"),
        (["decoder.kind=gru"], r"config\.yaml: decoder\.kind is 'gru'; it must be one of lstm"),
        (["decoder.layers=2"], r"decoder\.layers is 2, .*lstm does not take.*transformer, masked"),
        (["decoder.gate=both"], r"decoder\.gate is 'both'; it must be one of scalar, vector, none"),
        (["decoder.dropout=1"], r"decoder\.dropout is 1\.0; it must be at least 0 and below 1"),
        (["decoder.hidden_dim=0"], r"decoder\.hidden_dim is 0; it must be 1 or more"),
        (["decoder.projection_dim=-1"], r"decoder\.projection_dim is -1; it must be 0 or more"),
        (["hops=2"], r"unknown key hops; did you mean attention\.hops\?"),
    ],
)
def test_options_that_a_kind_does_not_have_are_named(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, ""), overrides)
    assert "\n" not in str(caught.value)


def test_the_defaults_are_those_of_all_kinds() -> None:
    found = defaults()
    assert found["decoder.layers"] == 3
    assert found["attention.hops"] == 4
    for section, values in to_dict(Config()).items():
        for key, value in values.items():
            assert found[f"{section}.{key}"] == value


def test_to_dict_and_back(tmp_path: Path) -> None:
    import yaml

    config = load_config(write(tmp_path, "train:\n  epochs: 3\n"))
    again = load_config(write(tmp_path, yaml.safe_dump(to_dict(config))))
    assert again == config


# Several data sets -------------------------------------------------------------------------------


def test_data_path_takes_a_list(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "data: {images: photos, path: [a/d.jsonl, {path: b/d.jsonl, weight: 2, images: there}]}"
    )
    data = load_config(file).data
    assert [(each.path, each.weight, each.images) for each in data.sets] == [
        ("a/d.jsonl", 1.0, "photos"),
        ("b/d.jsonl", 2.0, "there"),
    ]
    assert from_dict(Config, to_dict(load_config(file)), "again") == load_config(file)
    over = load_config(file, ["data.path=[x.jsonl, {path: y.jsonl, weight: 0.5}]"]).data
    assert [(each.path, each.weight) for each in over.sets] == [("x.jsonl", 1.0), ("y.jsonl", 0.5)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[]", r"data\.path is an empty list"),
        ("3", r"data\.path is 3; it must be text, or a list"),
        ("[3]", r"data\.path\[0\] must be a section|data\.path\[0\]"),
        ("[{path: a, wieght: 2}]", r"unknown key wieght.*weight"),
        ("[{path: a, weight: often}]", r"weight is 'often'; it must be a number"),
        ("[{path: a, weight: 0}]", r"data\.path\[0\]\.weight is 0"),
        ("[{path: a, weight: .nan}]", r"data\.path\[0\].*weight is nan"),
    ],
)
def test_invalid_lists_are_refused(tmp_path: Path, value: str, said: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"data: {{path: {value}}}")
    with pytest.raises(ConfigError, match=said):
        check(load_config(file))


def test_search_is_set_in_one_place() -> None:
    """Whatever takes a setting of search takes its default, its bounds and its help from one."""
    found = settings()
    assert dataclasses.asdict(SearchConfig()) == {
        name: each.default for name, each in found.items() if name != "n_best"
    }
    assert {name: getattr(SearchOptions(), name) for name in found} == {
        name: each.default for name, each in found.items()
    }
    for name, each in found.items():
        kind = float if isinstance(each.default, float) else int
        for value in (each.least - 1, each.most + 1):
            with pytest.raises(ConfigError, match=rf"^{name} is {kind(value)}; it must be"):
                SearchOptions(**{name: kind(value)})
        # caption.py stands alone: its bounds are written there once more.
        least, most, wanted = program.RANGES[name]
        assert (least, most) == (each.least, each.most), name
        assert wanted in (kind, int | float), name
    assert set(program.RANGES) == set(found)
    (option,) = BeamSize.__metadata__
    beam = found["beam_size"]
    assert (option.min, option.max, option.help) == (beam.least, beam.most, beam.sentence)


RARE = [
    "!!int x", "!!bool x", "!!timestamp x", "!!float x", "!!binary x", "[" * 3000, "9" * 400,
    "9" * 5000, "-" * 3000 + " x", "{? [a] : b}", "&a [*a]", "0x" + "f" * 400, ".inf", ".nan",
    "1e400", "!!python/object:os.system x", "*nothing", "2026-13-01", "\x00", "'\\ud800'",
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (key, text)
        for key in ("train.epochs", "train.lr", "train.ema", "data.mirror")
        for text in RARE
        if text[:2] != "[[" or key == "train.lr"  # slow, and refused before the key matters
    ],
)
def test_values_that_yaml_rarely_gives(key: str, text: str, tmp_path: Path) -> None:
    section, name = key.split(".")
    file = tmp_path / "c.yaml"
    file.write_text(f"{section}:\n  {name}: {text}\n")
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    for read in (lambda: load_config(file), lambda: load_config(empty, [f"{key}={text}"])):
        with pytest.raises(ConfigError) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_date_is_the_name_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train:\n  out: 2026-11-27\n")
    assert load_config(file).train.out == "2026-11-27"
    assert load_config(file, ["train.out=2026-13-01"]).train.out == "2026-13-01"

"""The recipe's sentences: every phrase has a meaning, no word is unknown, and rewording changes nothing else."""

import re
from pathlib import Path

import numpy as np

from embedded_model.concepts import ANGLES, CARS, CARTS, GENERIC
from embedded_model.grammar import Grammar, Rewording, own_clause, paraphrases, parts_first, predicate
from gym_vlmrm.finetuning.vocabulary import write_vocabulary
from gym_vlmrm.reward.folders import MERGES_FILE, WORDS_FILE


def test_every_phrase_names_a_concept_that_has_a_meaning() -> None:
    grammar = Grammar()
    known = {"angle": {*ANGLES, "leaning_slightly", "tilted", "horizontal"}, "cart": {f"cart_{name}" for name in CARTS}}
    assert set(grammar.cartpole["angles"]) == known["angle"]
    assert set(grammar.cartpole["positions"]) == known["cart"]
    assert set(grammar.car["positions"]) == set(CARS)
    assert set(GENERIC) <= {*grammar.humanoid["legs"], *grammar.humanoid["arms"]}


def test_no_paraphrase_is_trained_on() -> None:
    trained = set(Grammar().phrases())
    assert all(len(sentences) == 10 for sentences in paraphrases().values())
    assert not trained & {sentence for sentences in paraphrases().values() for sentence in sentences}


def test_statements_say_what_descriptions_say() -> None:
    rng = np.random.default_rng(0)
    said = {predicate(rng, "that kneels and that raises both arms") for _ in range(50)}
    assert said == {"that kneels and that raises both arms", "kneels and raises both arms"}
    assert {predicate(rng, "kneeling") for _ in range(50)} == {"kneeling", "is kneeling"}
    assert {predicate(rng, "with its knees on the floor") for _ in range(50)} == {"with its knees on the floor"}


def test_synonyms_change_places_and_nothing_else() -> None:
    reword = Rewording(groups=[["both feet", "its feet"], ["floor", "ground"]], possessives=["her"], fillers=["calmly"])
    rng = np.random.default_rng(0)
    said = {reword(rng, "with one of its feet off the floor") for _ in range(300)}
    assert {"with one of its feet off the ground", "with one of her feet off the floor"} <= said
    assert any("calmly" in text for text in said)
    assert not any("both" in text for text in said)
    assert {reword(rng, "on both feet").removesuffix(" calmly") for _ in range(300)} >= {"on both feet", "on its feet"}


def test_sentences_about_every_scene_may_say_that_they_describe_a_picture() -> None:
    rng, grammar = np.random.default_rng(0), Grammar()
    sentences = [grammar.draw(rng) for _ in range(4000)]
    for domain in ("humanoid", "cartpole", "mountain-car"):
        texts = [sentence.text for sentence in sentences if sentence.domain == domain]
        assert any(text.startswith(("a picture of ", "an image of ")) for text in texts), domain


def test_the_pole_and_its_cart_go_by_several_names() -> None:
    rng, grammar = np.random.default_rng(0), Grammar()
    upright = [sentence.text for _ in range(4000) if (sentence := grammar.draw(rng)).names == {"angle": "upright"}]
    for words in ("balanced", "trolley", "black cart", "the rod"):
        assert any(words in text for text in upright), words


def test_a_part_of_the_body_may_come_first() -> None:
    rng = np.random.default_rng(0)
    said = {parts_first(rng, "a robot", "with its arms crossed") for _ in range(50)}
    assert said == {"the arms of a robot are crossed", "a robot's arms are crossed"}
    assert parts_first(rng, "a robot", "with one knee up") == "one knee of a robot is up"
    assert parts_first(rng, "a robot", "with one of its knees up") == "one of the knees of a robot is up"
    assert parts_first(rng, "a robot", "kneeling") is None
    assert parts_first(rng, "she", "with both arms up") is None


def test_a_part_of_the_body_can_have_a_clause_of_its_own() -> None:
    rng = np.random.default_rng(0)
    said = {own_clause(rng, "kneeling with its back straight") for _ in range(80)}
    assert {"kneeling, and it keeps its back straight", "kneeling and its back is straight"} <= said
    assert own_clause(rng, "kneeling") == "kneeling"
    assert own_clause(rng, "with its back straight") == "with its back straight"


def test_training_sentences_have_no_words_outside_the_vocabulary(tmp_path: Path) -> None:
    grammar, rng = Grammar(), np.random.default_rng(0)
    write_vocabulary(tmp_path, grammar.phrases())
    known = set((tmp_path / WORDS_FILE).read_text(encoding="utf-8").split())
    for _ in range(2000):
        sentence = grammar.draw(rng)
        unknown = set(re.findall(r"[\w']+", sentence.text.lower())) - known
        assert len(unknown) <= 1, sentence.text  # the subject may be made up


def test_the_vocabulary_is_the_same_every_time(tmp_path: Path) -> None:
    sizes = [write_vocabulary(tmp_path / name, Grammar().phrases()) for name in ("first", "second")]
    assert sizes[0] == sizes[1]
    for name in (MERGES_FILE, WORDS_FILE):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

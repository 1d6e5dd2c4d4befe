"""Films: two worlds in step, one for the reward and one for people; looks that change neither physics nor reward."""

import hashlib
from typing import Any

import numpy as np
import pytest
from counting import SIZE, CountingReward, CountingWorld, counting_pool
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm import load_task
from gym_vlmrm.learning.agents import RandomAgent
from gym_vlmrm.learning.film_layout import FILM_SIZE, FilmLayout
from gym_vlmrm.learning.filming import Take, _equal_rows, film
from gym_vlmrm.lettering import font, wrapped
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.world import make_world


def _agents(pool: Any) -> tuple[RandomAgent, RandomAgent]:
    return RandomAgent(pool.single_action_space, 2, seed=0), RandomAgent(pool.single_action_space, 2, seed=1)


class Bright(CountingWorld):
    """Draws for people: the same numbers, and a last row that says so."""

    def render(self) -> Any:
        frame = super().render()
        frame[-1] = 255
        return frame


class Unlike(Bright):
    """Leaves the way of its twin at its third step."""

    def _state(self) -> Any:
        return super()._state() + (self.count >= 3)


def _shown(world: type[CountingWorld] = Bright) -> Any:
    def make(index: int) -> Any:
        return lambda: FrameObservation(TimeLimit(world(index), 5), SIZE)

    return SyncVectorEnv([make(index) for index in range(2)], autoreset_mode=AutoresetMode.SAME_STEP)


def _film(shown: Any, **options: Any) -> list[tuple[Take, Take]]:
    judged = counting_pool(num_envs=2, every=options.get("every", 1))
    return list(film(judged, shown, _agents(judged), CountingReward(), seed=0, **options))


def test_a_film_shows_the_terminal_frame_and_its_reward() -> None:
    shots = _film(_shown())
    assert len(shots) == 5
    for index, takes in enumerate(zip(*shots, strict=True)):
        for step, take in enumerate(takes, 1):
            assert (take.picture[0, 0] == (index, 0, step)).all()  # never the next episode's
            assert (take.picture[-1] == 255).all()
            assert (take.seen[0, 0] == (index, 0, step)).all()
            assert (take.seen[-1] == 0).all()
            assert take.reward == pytest.approx(index + 0.01 * step)
            assert take.success == (step % 2 == 0)
            assert take.step == step


def test_an_episode_that_is_over_rests_on_its_last_picture() -> None:
    judged, shown = counting_pool(num_envs=2), _shown()
    for pool in (judged, shown):
        pool.reset(seed=0)  # every second episode ends after 2 + i steps
    shots = list(film(judged, shown, _agents(judged), CountingReward(), seed=0))
    assert [takes[0].over for takes in shots] == [False, False, True]
    assert (shots[2][0].picture[0, 0] == (0, 1, 2)).all()
    assert shots[2][0].reward == shots[1][0].reward
    assert shots[2][0].step == 2
    assert not shots[2][1].over


def test_a_film_that_never_ends_is_cut() -> None:
    assert len(_film(_shown(), limit=2)) == 2


def test_rewards_between_scored_frames_are_held() -> None:
    shots = _film(_shown(), every=3)
    assert [round(takes[0].reward, 2) for takes in shots] == [0.01, 0.01, 0.01, 0.04, 0.04]
    assert [takes[0].seen[0, 0, 2] for takes in shots] == [1, 1, 1, 4, 4]
    assert [takes[0].picture[0, 0, 2] for takes in shots] == [1, 2, 3, 4, 5]


def test_a_world_that_leaves_the_way_of_its_twin_is_shown_as_the_reward_saw_it() -> None:
    shots = _film(_shown(Unlike))
    assert [bool((takes[0].picture[-1] == 255).all()) for takes in shots] == [True, True, False, False, False]


def _take(**changes: Any) -> Take:
    picture = np.full((64, 64, 3), 120, np.uint8)
    settings: dict[str, Any] = {"reward": 0.25, "success": False, "step": 1, "over": False}
    return Take(picture=picture, seen=picture[:16, :16], **{**settings, **changes})


def test_a_picture_carries_sentence_reward_and_light() -> None:
    def picture(sentence: str = "kneeling", **changes: Any) -> Any:
        return FilmLayout(sentence, "title", 10, (0.0, 1.0)).picture((_take(**changes), _take()))

    plain = picture()
    assert plain.shape[0] > FILM_SIZE
    assert plain.shape[1] > FILM_SIZE
    assert not any(side % 2 for side in plain.shape[:2])  # what video encoders want
    head, light, number = slice(0, 40), slice(85, 120), slice(360, 400)
    for changes, place in (({"sentence": "standing"}, head), ({"success": True}, light), ({"reward": 0.5}, number)):
        other = picture(**changes)
        assert (other[place] != plain[place]).any()
    assert (picture(success=None)[light] != plain[light]).any()


def test_odd_numbers_and_long_sentences_are_no_error() -> None:
    layout = FilmLayout("word " * 300, "t" * 500, 0, (0.5, 0.5))
    for step, reward in enumerate((float("nan"), float("inf"), -1e9, 3.0, 3.0), 1):
        layout.picture((_take(reward=reward, step=step), _take(over=True)))
    letters = font(12)
    for text in ("", "one", "a" * 400, "two words " * 40):
        lines = wrapped(text, letters, 100, 2)
        assert len(lines) <= 2
        assert all(letters.getlength(line) <= 100 for line in lines)


@pytest.mark.parametrize("name", ["kneeling", "cartpole", "mountain-car"])
def test_a_film_changes_neither_physics_nor_the_rewards_frames(name: str) -> None:
    """Digests of all that happens and of what the reward sees, alone and while a film is drawn beside it."""
    task = load_task(name)

    def digests(*, film: bool, beside: bool = False) -> tuple[str, str, Any]:
        world = make_world(task, render_size=64, film=film)
        other = make_world(task, render_size=64, film=True) if beside else None
        actions = world.action_space
        actions.seed(3)
        physics, frames = hashlib.sha256(), hashlib.sha256()
        observation, _ = world.reset(seed=5)
        if other is not None:
            other.reset(seed=5)
        for _ in range(25):
            action = actions.sample()
            observation, reward, _, _, info = world.step(action)
            physics.update(observation.tobytes() + repr((reward, sorted(info.items()))).encode())
            if other is not None:
                other.step(action)
                other.render()
            frame: Any = world.render()
            frames.update(frame.tobytes())
        world.close()
        if other is not None:
            other.close()
        return physics.hexdigest(), frames.hexdigest(), frame

    plain, filmed = digests(film=False), digests(film=True)
    assert plain[0] == filmed[0]
    assert digests(film=False, beside=True)[:2] == plain[:2]
    if name == "kneeling":
        assert np.abs(filmed[2].astype(float) - plain[2]).mean() > 5  # another look, from elsewhere


def test_what_films_add_to_the_humanoid_is_only_seen() -> None:
    import mujoco

    from gym_vlmrm.worlds.humanoid.env import HumanoidScene

    models = {}
    for quality in ("draft", "film"):
        env = HumanoidScene(render_size=32, quality=quality)  # type: ignore[arg-type]
        models[quality] = env.model
        env.close()
    draft, filmed = models["draft"], models["film"]
    for field in ("body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_armature", "jnt_range", "qpos0"):
        np.testing.assert_array_equal(getattr(draft, field), getattr(filmed, field))
    names = [draft.geom(index).name for index in range(draft.ngeom) if draft.geom(index).contype[0]]
    touching = [filmed.geom(index).name for index in range(filmed.ngeom) if filmed.geom(index).contype[0]]
    assert names == touching
    for name in names:
        for field in ("size", "pos", "quat", "friction", "margin", "solref", "conaffinity"):
            if name != "floor" or field != "size":
                np.testing.assert_array_equal(getattr(draft.geom(name), field), getattr(filmed.geom(name), field))
    floor = filmed.geom("floor").matid[0]
    assert filmed.mat_reflectance[floor] == 0  # no mirror
    assert filmed.vis.quality.shadowsize > 0
    assert mujoco.mj_id2name(filmed, mujoco.mjtObj.mjOBJ_MATERIAL, floor) == "film_floor"


def test_worlds_are_compared_row_by_row() -> None:
    nan = float("nan")
    assert _equal_rows(np.array([[1, nan], [2, 3.0]]), np.array([[1, nan], [2, 4.0]])).tolist() == [True, False]
    left, right = ({"a": np.zeros(2), "b": (np.zeros((2, 3)), np.array([0, last]))} for last in (1, 2))
    assert _equal_rows(left, right).tolist() == [True, False]
    assert _equal_rows(("x", "y"), ("z", "y")).tolist() == [False, True]

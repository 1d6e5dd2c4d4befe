"""Recorded frames and their rewards: pictures, films, data sets; and what comes of odd files."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import vlmrm
from PIL import Image
from scipy.stats import spearmanr

import gym_vlmrm
from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.files import open_picture
from gym_vlmrm.footage.clips import open_clips
from gym_vlmrm.footage.films import read_film
from gym_vlmrm.learning.video import write_mp4

BRIGHT = "brightness"


def grey(level: float, size: int = 32) -> Any:
    return np.full((size, size, 3), level, np.uint8)


def rising(count: int) -> Iterator[Any]:
    return (grey(level) for level in np.linspace(20, 230, count))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures 1 to 11, each brighter than the one before."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(rising(11), 1):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_picture_earns_what_its_environment_paid(tmp_path: Path) -> None:
    import gymnasium as gym

    env = gym.make("VLMRM/MountainCar-Summit-v0")
    env.reset(seed=3)
    _, reward, *_ = env.step(env.action_space.sample())
    frame = env.render()
    env.close()
    Image.fromarray(frame).save(tmp_path / "frame.png")
    scores = gym_vlmrm.score("mountain-car", tmp_path / "frame.png", frame[None])
    assert [clip.rewards for clip in scores.clips] == [[pytest.approx(reward, abs=1e-6)]] * 2


def test_a_folder_is_a_clip_in_the_order_of_its_numbers(pictures: Path) -> None:
    scores = gym_vlmrm.score("cartpole", pictures, model=BRIGHT)
    (clip,) = scores.clips
    assert [Path(name).stem for name in clip.frames] == [f"frame_{number}" for number in range(1, 12)]
    assert clip.progress == pytest.approx(1.0)
    assert scores.rewards == pytest.approx(sorted(scores.rewards))
    shuffled = [3, 1, 2, 5, 4]
    scores = gym_vlmrm.score("cartpole", *(pictures / f"frame_{n}.png" for n in shuffled), model=BRIGHT)
    assert scores.clips[0].progress == pytest.approx(spearmanr(shuffled, range(5)).statistic)


def test_equal_rewards_and_few_frames_have_no_progress() -> None:
    scores = gym_vlmrm.score(
        "cartpole", np.zeros((5, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8), model=BRIGHT
    )
    assert [clip.progress for clip in scores.clips] == [None, None]


def test_a_film_has_times(tmp_path: Path) -> None:
    assert write_mp4(tmp_path / "-y.mp4", rising(20), 10)
    (clip,) = gym_vlmrm.score("cartpole", str(tmp_path / "-y.mp4"), model=BRIGHT).clips
    assert clip.times[:3] == pytest.approx([0, 0.1, 0.2])
    assert len(clip.rewards) == 20
    assert clip.progress == pytest.approx(1.0)
    part = list(read_film(tmp_path / "-y.mp4", start=0.45, count=3))
    assert [frame.mean() for frame in part] == pytest.approx(
        [frame.mean() for frame in list(read_film(tmp_path / "-y.mp4"))[5:8]]
    )


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20, 3), (200, 30, 3)])
def test_pictures_of_odd_shapes_are_padded(tmp_path: Path, shape: Any) -> None:
    Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / "x.png")
    assert gym_vlmrm.score("cartpole", tmp_path / "x.png", model=BRIGHT).rewards == pytest.approx([1.0])


def test_the_command_prints_and_writes(pictures: Path, tmp_path: Path) -> None:
    film, table, curve = tmp_path / "out.mp4", tmp_path / "out.csv", tmp_path / "out.png"
    arguments = ("score", "cartpole", pictures, "--model", BRIGHT, "--progress")
    result = vlmrm(*arguments, "--output", table, "--curve", curve, "--film", film)
    assert result.exit_code == 0, result.output
    assert "progress: 1.000" in result.stdout
    rows = list(csv.DictReader(table.read_text().splitlines()))
    told = json.loads(vlmrm(*arguments, "--json").stdout)["clips"][0]
    assert [float(row["reward"]) for row in rows] == pytest.approx(told["rewards"])
    assert [row["frame"] for row in rows] == told["frames"]
    assert open_picture(curve).shape[1] > 500
    frames = list(read_film(film))
    assert len(frames) == 11
    assert frames[-1][60:400, 200:].mean() > frames[0][60:400, 200:].mean() + 150  # the frames are in it
    assert vlmrm(*arguments, "--quiet").stdout == ""


def test_a_table_may_be_parquet(pictures: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = vlmrm("score", "cartpole", pictures, "--model", BRIGHT, "--output", tmp_path / "t.parquet", "--quiet")
    assert result.exit_code == 0, result.output
    read = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert list(read) == ["clip", "frame", "time", "reward"]
    assert len(read["reward"]) == 11


def make_hdf5(path: Path, observations: Any) -> None:
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number in (0, 1, 10):
            group = file.create_group(f"episode_{number}")
            if isinstance(observations, dict):
                inner = group.create_group("observations")
                for key, value in observations.items():
                    inner.create_dataset(key, data=value)
            else:
                group.create_dataset("observations", data=observations)


@pytest.mark.parametrize("nested", [False, True])
def test_minari_s_episodes_are_clips(tmp_path: Path, nested: bool) -> None:
    frames = np.stack(list(rising(6)))
    file = tmp_path / "set" / "data" / "main_data.hdf5"
    make_hdf5(file, {"state": np.zeros((6, 4)), "pixels": frames} if nested else frames)
    for source in (tmp_path / "set", file):
        clips = gym_vlmrm.score("cartpole", source, model=BRIGHT).clips
        assert [clip.name.rpartition(", ")[2] for clip in clips] == ["episode 0", "episode 1", "episode 10"]
        assert all(clip.progress == pytest.approx(1.0) and len(clip.frames) == 6 for clip in clips)
    if nested:
        with pytest.raises(RunError, match=r"no pictures 'pixel'; did you mean 'pixels'"):
            open_clips([file], "pixel")


def test_minari_s_other_files_are_told(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    make_hdf5(tmp_path / "states.hdf5", np.zeros((6, 4)))
    with pytest.raises(RunError, match=r"no pictures, uint8 \(T, H, W, 3\), but observations float64 \(6, 4\)"):
        open_clips([tmp_path / "states.hdf5"])
    make_hdf5(tmp_path / "target.hdf5", np.stack(list(rising(3))))
    with h5py.File(tmp_path / "link.hdf5", "w") as file:
        file.create_group("episode_0")["observations"] = h5py.ExternalLink("target.hdf5", "/episode_0/observations")
    with pytest.raises(RunError, match="is a link"):
        open_clips([tmp_path / "link.hdf5"])
    (tmp_path / "secret").write_bytes(bytes(3 * 4 * 4 * 3))
    with h5py.File(tmp_path / "outside.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group.create_dataset(
            "observations", (3, 4, 4, 3), np.uint8, external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(RunError, match="lies in another file"):
        open_clips([tmp_path / "outside.hdf5"])
    (tmp_path / "text.hdf5").write_text("no hdf5")
    with pytest.raises(RunError, match="cannot be read as HDF5"):
        open_clips([tmp_path / "text.hdf5"])


def make_lerobot(folder: Path, version: int, key: str = "observation.images.top") -> None:
    """Two episodes of 5 and 7 frames."""
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    (folder / "meta").mkdir(parents=True)
    features = {"action": {"dtype": "float32"}, key: {"dtype": "video"}, "wrist": {"dtype": "image"}}
    (folder / "meta" / "info.json").write_text(json.dumps({"fps": 10, "features": features}))
    if version == 2:
        place = folder / "videos" / "chunk-000" / key
        place.mkdir(parents=True)
        for number, count in enumerate((5, 7)):
            write_mp4(place / f"episode_{number:06d}.mp4", rising(count), 10)
    else:
        place = folder / "videos" / key / "chunk-000"
        place.mkdir(parents=True)
        write_mp4(place / "file-000.mp4", [*rising(5), *rising(7)], 10)
        rows = {
            "episode_index": [0, 1], "length": [5, 7], f"videos/{key}/chunk_index": [0, 0],
            f"videos/{key}/file_index": [0, 0], f"videos/{key}/from_timestamp": [0.0, 0.5],
        }  # fmt: skip
        (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        parquet.write_table(arrow.table(rows), folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")


@pytest.mark.parametrize("version", [2, 3])
def test_lerobot_s_episodes_are_clips(tmp_path: Path, version: int) -> None:
    make_lerobot(tmp_path / "set", version)
    clips = gym_vlmrm.score("cartpole", tmp_path / "set", model=BRIGHT).clips
    assert [(len(clip.frames), clip.name.rpartition(", ")[2]) for clip in clips] == [(5, "episode 0"), (7, "episode 1")]
    assert [clip.progress for clip in clips] == pytest.approx([1.0, 1.0])
    assert clips[1].times[1] == pytest.approx(0.1)


def test_a_lerobot_set_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    make_lerobot(tmp_path / "set", 2)
    film = tmp_path / "set" / "videos" / "chunk-000" / "observation.images.top" / "episode_000000.mp4"
    film.rename(tmp_path / "private.mp4")
    film.symlink_to(tmp_path / "private.mp4")
    with pytest.raises(RunError, match="a link that leads out of its folder"):
        gym_vlmrm.score("cartpole", tmp_path / "set", model=BRIGHT)


def test_lerobot_s_pictures_in_tables_are_clips(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    make_lerobot(tmp_path / "set", 2)
    contents = []
    for frame in rising(6):
        Image.fromarray(frame).save(tmp_path / "frame.png")
        contents.append({"bytes": (tmp_path / "frame.png").read_bytes(), "path": None})
    (tmp_path / "set" / "data" / "chunk-000").mkdir(parents=True)
    table = arrow.table({"episode_index": [0, 0, 0, 4, 4, 4], "wrist": contents})
    parquet.write_table(table, tmp_path / "set" / "data" / "chunk-000" / "episode_000000.parquet")
    clips = gym_vlmrm.score("cartpole", tmp_path / "set", model=BRIGHT, camera="wrist").clips
    assert [(clip.name.rpartition(" ")[2], len(clip.frames)) for clip in clips] == [("0", 3), ("4", 3)]
    assert clips[1].rewards[0] > clips[0].rewards[-1]
    with pytest.raises(RunError, match=r"no pictures 'wrists'; did you mean 'wrist'"):
        open_clips([tmp_path / "set"], "wrists")


def test_a_playlist_called_a_film_opens_nothing(pictures: Path, tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", rising(5), 10)
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:9,", f"file:{tmp_path}/film.mp4", "#EXT-X-ENDLIST", "")
    (tmp_path / "list.mp4").write_text("\n".join(lines))
    with pytest.raises(RunError, match="no film that ffmpeg can read"):
        open_clips([tmp_path / "list.mp4"])


def test_odd_sources_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.png").write_text("no picture")
    Path("text.mp4").write_text("no film")
    Path("none.mp4").write_bytes(b"")
    Path("film.mp4").mkdir()
    Image.fromarray(np.zeros((1, 50, 3), np.uint8)).save("line.png")
    Image.fromarray(grey(9)).save("good.png")
    os.mkfifo("pipe.png")
    Path("bad/meta").mkdir(parents=True)
    Path("bad/meta/info.json").write_text("[]")
    cases = [
        (("empty",), "holds no picture"),
        (("text.png",), "not a picture"),
        (("text.mp4",), "no film"),
        (("none.mp4",), "no film"),
        (("film.mp4",), "holds no picture"),
        (("line.png",), "50 x 1 pixels"),
        (("goo.png",), "does not exist; did you mean 'good.png'"),
        (("pipe.png",), "is no regular file"),
        (("bad",), "has no 'features'"),
        (("good.png", "--output", "x.xlsx"), "end it with .csv or .parquet"),
        (("good.png", "--film", "nowhere/x.mp4"), "no folder 'nowhere'"),
        (("good.png", "--curve", "x"), "no name for curves"),
    ]
    for arguments, words in cases:
        result = vlmrm("score", "cartpole", *arguments, "--model", BRIGHT)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert words in result.stderr, arguments
        assert len(result.stderr.splitlines()) == 1
    assert vlmrm("score", "cartpole").exit_code == 2
    assert "did you mean 'cartpole'" in vlmrm("score", "cartpol", "good.png").stderr
    with pytest.raises(ModelError, match="uint8"):
        gym_vlmrm.score("cartpole", np.zeros((2, 8, 8)), model=BRIGHT)
    with pytest.raises(RunError, match="holds no frames"):
        gym_vlmrm.score("cartpole", np.zeros((0, 8, 8, 3), np.uint8), model=BRIGHT)
    with pytest.raises(RunError, match="nothing to score"):
        gym_vlmrm.score("cartpole", model=BRIGHT)
    with pytest.raises(TypeError, match=r"score\(\) got an unexpected keyword argument 'modle'; did you mean 'model'"):
        gym_vlmrm.score("cartpole", "good.png", modle=BRIGHT)


def test_nothing_that_is_scored_is_written_over(pictures: Path, tmp_path: Path) -> None:
    film, picture = tmp_path / "film.mp4", pictures / "frame_1.png"
    assert write_mp4(film, rising(3), 10)
    before = film.read_bytes(), picture.read_bytes()
    cases = [
        ((film, "--film", film), "is itself to be scored"),
        ((picture, "--curve", tmp_path / "pictures" / ".." / "pictures" / "frame_1.png"), "is itself to be scored"),
        ((pictures, "--curve", picture), "among what is scored"),
        ((pictures, "--film", pictures / "new.mp4"), "among what is scored"),
        ((picture, "--film", tmp_path / "film.mp4" / "x.mp4"), "there is no folder"),
        ((picture, "--output", "/proc/x.csv"), "cannot write '/proc/x.csv'"),
    ]
    for arguments, words in cases:
        result = vlmrm("score", "cartpole", *arguments, "--model", BRIGHT)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert words in result.stderr, arguments
    assert (film.read_bytes(), picture.read_bytes()) == before
    result = vlmrm("score", "cartpole", pictures, "--output", pictures / "t.csv", "--model", BRIGHT)
    assert result.exit_code == 0, result.stderr  # no picture


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "x.jpg", exif=exif)
    assert open_picture(tmp_path / "x.jpg").shape == (20, 10, 3)


def test_limits_of_pictures_are_told(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    Image.new("1", (8_000, 8_000)).save(tmp_path / "large.png")
    Image.new("1", (50, 1)).save(tmp_path / "line.png")
    for name, words in (("huge", "50,000,000 pixels"), ("large", "50,000,000 in all"), ("line", "20 times the other")):
        with pytest.raises(RunError, match=words):
            open_picture(tmp_path / f"{name}.png")


def sums_of(**reward: Any) -> Any:
    from gym_vlmrm.task.catalog import load_task, override

    task = override(load_task("cartpole"), model=BRIGHT)
    return task.model_copy(update={"reward": task.reward.model_validate({"model": BRIGHT, **reward})})


@pytest.mark.parametrize(
    ("reward", "worth"),
    [
        ({"avoid": "a dark room"}, lambda bright: -bright),
        ({"goal": "light", "scale": 3, "weight": 2}, lambda bright: 3 * bright),
        ({"goal": "light", "avoid": "a dark room"}, lambda bright: 0 * bright),
        ({"parts": [{"goal": "light", "window": {"frames": 2}}]}, lambda b: (b + np.append(b[:1], b[:-1])) / 2),
        (
            {"goal": "light", "every": 3, "window": {"frames": 2}},
            lambda b: np.append(b[:1], [(b[i] + b[max(i - 3, 0)]) / 2 for i in range(1, len(b))]),
        ),
    ],
)
def test_a_reward_of_parts_scores_each_frame_and_looks_back_over_its_clip(reward: Any, worth: Any) -> None:
    film = np.stack(list(rising(70)))  # more than a batch
    bright = np.array(gym_vlmrm.score("cartpole", film, model=BRIGHT).rewards)
    scores = gym_vlmrm.score(sums_of(**reward), film, film[:3])
    assert scores.clips[0].rewards == pytest.approx(worth(bright), abs=1e-6)
    assert scores.clips[1].rewards == scores.clips[0].rewards[:3]  # nothing is carried over to the next clip
    assert scores.model == BRIGHT
    assert scores.goal == sums_of(**reward).reward.said


def test_pictures_show_one_view(pictures: Path, tmp_path: Path) -> None:
    task = tmp_path / "two.yaml"
    task.write_text(
        "include: kneeling.yaml\nid: X/Two-v0\nscene: {cameras: {side: {azimuth: 90}}}\n"
        "reward: {cameras: [main, side], model: brightness}\n"
    )
    run = vlmrm("score", task, pictures)
    assert run.exit_code == 1
    assert run.stderr.splitlines() == [
        "error: reward.cameras: the reward looks through 2 cameras (main, side), and recorded frames show one view; "
        "score them by a task of one camera"
    ]

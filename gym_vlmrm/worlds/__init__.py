"""The world: environments with their scenes, the picture of a transition, pools of worker processes.

`world` makes one, or a pool of them (`pools`). From the bottom to the top it is made of:

* an environment that draws square frames: one of this package that can be posed (`scene` says what that is; `flat` with
  `cartpole` and `mountain_car`, `humanoid` with `poses`), or anybody's (`generic`; where MuJoCo draws it, `viewers`);
* `guard`: whatever it raises becomes one line;
* `task_info`: its own reward and the task's verdict in ``info``;
* Gymnasium's time limit;
* `verdicts`, where an agent is trained or judged: nothing else in ``info``;
* `frames`, where somebody else scores: the picture travels with the observation.

Pictures come from `canvas` (pygame) or `offscreen` (MuJoCo, with the OpenGL that `gl` finds); `quality` says what they
may cost; `contexts` keeps Gymnasium's viewers from drawing in each other's. `hidden` is the base of wrappers that are
part of an entry point.
"""

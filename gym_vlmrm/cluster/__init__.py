"""Judges, worlds and servers on the machines of a Ray cluster. Each file builds on those above it:

* `connecting`: the way to a cluster, or one of this machine alone.
* `judges`: replicas of the reward model, as actors; a batch whose replica dies is judged again by another.
* `worlds`: shares of a pool, as actors; one that dies is put back where it was.
* `training`: both together, as `gym_vlmrm.learning` takes them.
* `serving`: a judge behind HTTP, by Ray Serve.

Ray is imported when one of them is used, and nowhere else. Ray sends code and objects by cloudpickle, so a cluster is
one trust domain: whoever can reach it can run code on it.
"""

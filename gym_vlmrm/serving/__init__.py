"""One reward model per host for processes of any library. Each file builds on those above it:

* `wanted`: whether a process wants it.
* `wire`: messages between two processes: one line of JSON each, frames in memory that both can read.
* `place`: where on this machine a model's server is found, and by nobody but this user.
* `desk`: what a server does whatever the transport: prompts in, then frames in and rewards out, many askers at a time.
* `starting`: a client's way to a server: found, or started.
* `server`: the process that serves a desk to whoever connects, and ends with its last client.
* `client`: the reward model of a process that has none.

Clients import neither torch nor open_clip.
"""

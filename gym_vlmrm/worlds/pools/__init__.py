"""Many worlds in worker processes. Each file builds on those above it:

* `cores`: how many processor cores this process may use.
* `processes`: how any worker process begins and ends, what it inherits, how long it is waited for. Audits use it too.
* `workers`: processes that obey one numbered command at a time, so that no answer is taken for another's.
* `server`: what such a process does for a pool: it steps its share of the worlds, then draws them.
* `pool`: Gymnasium's vector environment over all of that.
* `each`: single environments of a pool.
"""

"""Asking the judge less: a network answers for it where that is safe. Each file builds on those above it:

* `ensemble`: small networks that learn rewards from states.
* `watch`: how wrong they are, and whether that lasts.
* `answers`: which states of a rollout are asked, and what the others are worth.
* `asked_rewards`: late rewards of which few are judged; draws what is asked.
* `checks`: what cannot be combined with it.
"""

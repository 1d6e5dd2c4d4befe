"""How the embedded model is made: states, frames, sentences, and the two towers that learn to agree about them.

Run ``python -m embedded_model --help``.
"""

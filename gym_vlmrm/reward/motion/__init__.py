"""Motions that the embedded model sees: a small head that reads windows of frames, and the sentences that it knows."""

"""What a teaching is asked to do, and how much work that is."""

from dataclasses import dataclass

__all__ = ["DEFAULT_MINUTES", "TeachingSettings"]

DEFAULT_MINUTES = 5.0


@dataclass(frozen=True)
class TeachingSettings:
    """Everything besides the tasks that decides a result; equal settings give equal weights on a CPU."""

    model: str = "scratch"
    """``scratch`` for a small new model, else an open_clip model to fine-tune."""
    minutes: float = DEFAULT_MINUTES
    """How much to draw and to learn: about what two cores do in so many minutes. It is no clock, so a slower machine
    takes longer and ends with the same weights."""
    rounds: int = 2
    """How often the states are hunted that fool the model, and taught."""
    policies: tuple[str, ...] = ()
    """Run folders whose policies show frames too."""
    seed: int = 0
    workers: int | None = None
    """Threads that learn, and processes that step the agents; one per core if not given."""
    device: str = "auto"
    """Where a named model is trained; a small one learns on the CPU."""

    @property
    def frames(self) -> int:
        """Frames to draw at first, of all worlds together; no fewer than a batch of the image tower's takes."""
        return max(round(480 * self.minutes), 96)

    @property
    def epochs(self) -> int:
        """Passes over them."""
        return 12 if self.minutes >= 1 else 8

    @property
    def hunted(self) -> int:
        """Frames that a round adds."""
        return max(round(120 * self.minutes), 30)

    @property
    def agent_steps(self) -> int:
        """Environment steps of an agent that chases the reward, where states cannot be told."""
        return max(round(1500 * self.minutes), 256)

"""Judges that speak: a frame and a sentence go to a server that knows OpenAI's protocol, and it answers.

Importing this package imports neither the client library nor torch.
"""

from gym_vlmrm.reward.speaking.address import Address, find_address, speaks
from gym_vlmrm.reward.speaking.spending import Spending, spending, spent

__all__ = ["Address", "Spending", "find_address", "speaks", "spending", "spent"]

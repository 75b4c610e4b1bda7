"""Facts: what the policy looks at, read for a page of conversations at a time.

Planning and execution both come through here, so that both decide on the same kind of facts.
"""

from migrator.facts.judging import Judge, Judged
from migrator.facts.membership import Membership, place_of
from migrator.facts.reader import FactsReader, Gathered
from migrator.facts.standings import Watermarks, current_watermarks

__all__ = ["FactsReader", "Gathered", "Judge", "Judged", "Membership", "Watermarks", "current_watermarks", "place_of"]

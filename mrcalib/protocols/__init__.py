"""Official challenge scores to the letter, quirks included, each quirk named; and the corrected values beside them.

Written from the programs' behaviour. Nothing here is reused by the metrics, which are defined as they should be.
"""

from mrcalib.protocols import curvas2024 as _curvas2024
from mrcalib.protocols import pdacvi as _pdacvi
from mrcalib.protocols import qubiq as _qubiq
from mrcalib.protocols._protocol import Measure, Protocol, get_protocol

curvas_pdacvi, curvas_2024, qubiq = _pdacvi.curvas_pdacvi, _curvas2024.curvas_2024, _qubiq.qubiq

__all__ = ["PROTOCOLS", "Measure", "Protocol", "curvas_2024", "curvas_pdacvi", "get_protocol", "qubiq"]

PROTOCOLS: tuple[str, ...] = tuple(module.PROTOCOL.name for module in (_pdacvi, _curvas2024, _qubiq))
"""The names that `get_protocol` knows."""

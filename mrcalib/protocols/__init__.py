"""Official challenge scores to the letter, quirks included, each quirk named; and the sound values beside them.

Written from the programs' behaviour. Nothing here is reused by the metrics, which are defined as they should be.
"""

from mrcalib.protocols._protocol import Protocol
from mrcalib.protocols._registry import PROTOCOLS, get_protocol
from mrcalib.protocols.curvas2024 import curvas_2024
from mrcalib.protocols.pdacvi import curvas_pdacvi
from mrcalib.protocols.qubiq import qubiq

__all__ = ["PROTOCOLS", "Protocol", "curvas_2024", "curvas_pdacvi", "get_protocol", "qubiq"]

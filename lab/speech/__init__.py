"""Local speech servers: the wires of Deepgram, OpenAI and Cartesia, with models from PyPI behind them.

`python -m lab.speech` serves all three; `recognizer` and `synthesizer` are also used on their own, by the
scripted caller and the ear. Nothing heavy is loaded at import.
"""

from __future__ import annotations

import os

# The models bring their own threads; a matrix library that starts one a core beside them takes the machine
# from the call. Read when the libraries load, so it is set before any of them is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

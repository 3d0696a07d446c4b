"""Data sets as Lightning datamodules: synthetic generators and user-provided files."""

from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.files.labelled import LabelledData
from cellstate.data.files.series import SeriesData
from cellstate.data.files.states import StatesData
from cellstate.data.files.text import TextData
from cellstate.data.synthetic.adding import AddingData
from cellstate.data.synthetic.copy_memory import CopyMemoryData
from cellstate.data.synthetic.embedded_reber import EmbeddedReberData
from cellstate.data.synthetic.first_parity import FirstParityData
from cellstate.data.synthetic.markov import MarkovData
from cellstate.data.synthetic.pattern import PatternData
from cellstate.data.synthetic.seasonal import SeasonalData
from cellstate.data.synthetic.sine import SineData
from cellstate.data.synthetic.temporal_order import TemporalOrderData
from cellstate.data.synthetic.trigger_action import TriggerActionData

__all__ = [
    "AddingData",
    "Batch",
    "CopyMemoryData",
    "DataSpec",
    "EmbeddedReberData",
    "FirstParityData",
    "LabelledData",
    "MarkovData",
    "PatternData",
    "SeasonalData",
    "SequenceData",
    "SeriesData",
    "SineData",
    "StatesData",
    "TemporalOrderData",
    "TextData",
    "TriggerActionData",
]

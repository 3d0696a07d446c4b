"""Where sequences come from: synthetic generators and users' own files, as Lightning datamodules."""

from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.files.series import SeriesData
from cellstate.data.files.text import TextData
from cellstate.data.synthetic.first_parity import FirstParityData
from cellstate.data.synthetic.pattern import PatternData
from cellstate.data.synthetic.seasonal import SeasonalData
from cellstate.data.synthetic.temporal_order import TemporalOrderData
from cellstate.data.synthetic.trigger_action import TriggerActionData

__all__ = [
    "Batch",
    "DataSpec",
    "FirstParityData",
    "PatternData",
    "SeasonalData",
    "SequenceData",
    "SeriesData",
    "TemporalOrderData",
    "TextData",
    "TriggerActionData",
]

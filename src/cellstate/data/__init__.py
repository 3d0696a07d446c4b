"""Where sequences come from: synthetic generators and users' own files, as Lightning datamodules."""

from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.data.files.series import SeriesData
from cellstate.data.files.text import TextData
from cellstate.data.synthetic.pattern import PatternData
from cellstate.data.synthetic.seasonal import SeasonalData

__all__ = ["Batch", "DataSpec", "PatternData", "SeasonalData", "SequenceData", "SeriesData", "TextData"]

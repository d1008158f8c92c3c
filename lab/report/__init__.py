"""The report of a call: figures, a table, and files for people and machines."""

from .figures import Figures, Line, TurnFigures, figures
from .files import write_report
from .table import print_summary

__all__ = ["Figures", "Line", "TurnFigures", "figures", "print_summary", "write_report"]

"""What a run leaves behind: files, tables, plots and the HTML page of a run."""

from bnnjax.report.attacks import attacks_figure, attacks_html, attacks_table
from bnnjax.report.bound_comparison import bound_comparison, bound_tables, bounds_side_by_side
from bnnjax.report.comparison import comparison_csv, comparison_latex, comparison_page, comparison_table
from bnnjax.report.console import TrainingDisplay, complain, progress_bar, summary_table, training_progress
from bnnjax.report.constraint_study import (
    constraint_study_csv,
    constraint_study_figure,
    constraint_study_page,
    constraint_study_table,
)
from bnnjax.report.corrupted import corruption_examples
from bnnjax.report.feature_study import feature_study_figure
from bnnjax.report.files import (
    append_metrics,
    read_json,
    read_metrics,
    remove_unfinished,
    truncate_metrics,
    write_bytes_atomically,
    write_json,
    write_text_atomically,
)
from bnnjax.report.html import draw_plots, write_report
from bnnjax.report.overhead import overhead_table
from bnnjax.report.pictures import Examples, confusion_matrix, worst_examples
from bnnjax.report.plots import bounds, curves
from bnnjax.report.robustness import (
    has_seeds,
    robustness_csv,
    robustness_groups_table,
    robustness_spread_table,
    robustness_table,
)
from bnnjax.report.robustness_page import write_robustness_page
from bnnjax.report.robustness_plots import robustness_map, severity_curves
from bnnjax.report.robustness_section import robustness_section
from bnnjax.report.tensorboard import event_writer
from bnnjax.report.theme import png_bytes

__all__ = [
    "Examples",
    "TrainingDisplay",
    "append_metrics",
    "attacks_figure",
    "attacks_html",
    "attacks_table",
    "bound_comparison",
    "bound_tables",
    "bounds",
    "bounds_side_by_side",
    "comparison_csv",
    "comparison_latex",
    "comparison_page",
    "comparison_table",
    "complain",
    "confusion_matrix",
    "constraint_study_csv",
    "constraint_study_figure",
    "constraint_study_page",
    "constraint_study_table",
    "corruption_examples",
    "curves",
    "draw_plots",
    "event_writer",
    "feature_study_figure",
    "has_seeds",
    "overhead_table",
    "png_bytes",
    "progress_bar",
    "read_json",
    "read_metrics",
    "remove_unfinished",
    "robustness_csv",
    "robustness_groups_table",
    "robustness_map",
    "robustness_section",
    "robustness_spread_table",
    "robustness_table",
    "severity_curves",
    "summary_table",
    "training_progress",
    "truncate_metrics",
    "worst_examples",
    "write_bytes_atomically",
    "write_json",
    "write_report",
    "write_robustness_page",
    "write_text_atomically",
]

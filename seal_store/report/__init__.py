"""Reports of results: one HTML file with tables and charts, that asks no network."""

from seal_store.report.write import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]

"""Captions out of the ledger: into files beside photos, into photos, tables, data sets and pages."""

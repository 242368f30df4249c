"""The ledger: tables, views, and every statement that changes a unit's state."""

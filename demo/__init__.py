"""Drawn scenes and the small checkpoint that learned to caption them."""

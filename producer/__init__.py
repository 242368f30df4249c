"""What makes work or shows results; never imports torch."""

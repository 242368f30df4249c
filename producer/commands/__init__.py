"""One module a command (or a pair): each parses, calls and echoes; nothing else lives in it."""

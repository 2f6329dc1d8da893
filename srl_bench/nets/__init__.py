"""Network bodies, heads and decoders; nothing here knows a loss or a trainer."""

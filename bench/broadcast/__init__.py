"""The parts of a generated broadcaster: what it shows, and how that gets to an RTMP server."""

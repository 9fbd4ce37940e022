"""A peer behind a relay, in a process of its own, so that its work is not charged to the client that is measured."""

"""End-to-end encryption of chat and calls: the profile "salam-e2ee v1" (docs/reference/e2ee-profile.md).

Nothing here opens a socket or reads a clock: time and randomness are handed in, and what must survive a crash goes through a
`Store`.
"""

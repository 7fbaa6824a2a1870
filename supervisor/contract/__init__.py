"""What the supervisor and its workers agree upon: settings, board, exit codes, messages, faults.

Nothing in here imports from the rest of either package.
"""

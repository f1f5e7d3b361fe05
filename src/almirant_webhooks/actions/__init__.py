"""Each thing that somebody can do, once, for the command, the API and the pages alike.

An action is told who acts and when, checks what it is asked for, writes the change and its entry in the audit trail in one
transaction, has the delivery loop look, and returns a value. It raises `Refused` with the words that every face shows.
"""

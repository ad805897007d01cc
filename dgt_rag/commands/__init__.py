"""The verbs of the command line, one file each: its flags (`add_arguments`) and what it does (`main`)."""

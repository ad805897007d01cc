"""What a data builder is: how one output is made."""

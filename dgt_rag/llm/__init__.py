"""Models: what they are asked, and the ways to ask them."""

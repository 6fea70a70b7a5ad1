"""Which files a user means, and what a walk leaves out."""

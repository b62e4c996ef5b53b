"""Who is one person (rule R4): the one implementation, for the models and for erasures."""

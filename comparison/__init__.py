"""What a changed rule, or a later night, changes in the marts: by lead, day and cause."""

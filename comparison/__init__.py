"""What changed rules, or later nights, change in the marts: by lead, day and cause."""

"""What readers get: copies of the marts, the report, alerts."""

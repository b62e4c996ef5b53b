"""The report for marketers: one HTML file, made from the published marts only."""

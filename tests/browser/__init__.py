"""Headless Chromium on the site's snippet; run by `make test-browser`."""

"""Outbound: qualified outcomes to Meta, source and campaign onto the CRM's record."""

"""Campaigns: many runs analysed anew under one name, a few at a time, until every member is done or has failed."""

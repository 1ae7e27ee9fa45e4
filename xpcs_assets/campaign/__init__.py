"""Campaigns: many runs analysed anew under one name, or averaged, until every member is done or has failed."""

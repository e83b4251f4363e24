"""Checks of the embedded node through the SDK's blocking API, in processes of their own.

Each check is a sentence about documented behaviour and a function that proves it. Some malformed
answers would abort the SDK's process, so a check's crash is reported as its failure.
"""

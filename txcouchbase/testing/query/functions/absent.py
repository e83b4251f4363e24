"""Functions that a server has and the node has not: errors tell them from misspelt names.

Source: the names that a server's public source registers.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT"]

ABSENT: Final = frozenset(
    """
    _timeseries advisor and array between curl current_users element exists field finderr formalise
    formalize in infer infer_value infervalue like like_prefix like_stop like_suffix node_name
    node_uuid not object_extract object_filter object_remove_fields object_types_nested or
    random_element recursive_cte redact regexp_prefix regexp_stop regexp_suffix search search_meta
    search_query search_score self slice successor unnest_pos unnest_position vector_distance within
    """.split()
)
"""By their names in lower case."""

{#
    CTEs `edges_both_ways` and `labels` (node, label): every node of `edges` (left_node, right_node) with the
    smallest node that it is connected to. To be used after `with recursive`.

    The plain form keeps every (node, smaller node it can reach): fine for the handful of identities
    that a person has. DuckDB keeps one label per node, so that a junk address shared by thousands
    of records costs time in proportion, not squared.
#}
{% macro connected_components(edges) -%}
    {{ return(adapter.dispatch('connected_components', 'ctwa')(edges)) }}
{%- endmacro %}

{% macro default__connected_components(edges) -%}
edges_both_ways as (

    select left_node as node, right_node as neighbour from {{ edges }}
    union distinct
    select right_node as node, left_node as neighbour from {{ edges }}

),

reached (node, label) as (

    select node, node as label from edges_both_ways
    union
    select edges_both_ways.node, reached.label
    from reached
    inner join edges_both_ways on reached.node = edges_both_ways.neighbour
    where reached.label < edges_both_ways.node

),

labels as (

    select node, min(label) as label
    from reached
    group by node

)
{%- endmacro %}

{# The linter's parser does not know `using key`; it sees the plain form. #}
{% macro duckdb__connected_components(edges) -%}
{%- if target.name == 'lint' -%}
{{ ctwa.default__connected_components(edges) }}
{%- else -%}
edges_both_ways as (

    select left_node as node, right_node as neighbour from {{ edges }}
    union distinct
    select right_node as node, left_node as neighbour from {{ edges }}

),

labels (node, label) using key (node) as (

    select distinct node, node as label from edges_both_ways
    union
    select edges_both_ways.node, min(improved.label) as label
    from labels as improved
    inner join edges_both_ways on improved.node = edges_both_ways.neighbour
    inner join recurring.labels as known on edges_both_ways.node = known.node
    where improved.label < known.label
    group by edges_both_ways.node

)
{%- endif -%}
{%- endmacro %}

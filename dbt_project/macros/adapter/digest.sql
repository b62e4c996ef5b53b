{# Whole numbers that tell rows and sets of rows apart, for models that are continued where their input
   has changed. Only of use within one engine: the other gives other numbers. #}

{# Of all columns of a row. #}
{% macro row_hash(alias) -%}
    {{ return(adapter.dispatch('row_hash', 'ctwa')(alias)) }}
{%- endmacro %}

{% macro default__row_hash(alias) -%}
    cast(hash({{ alias }}) as hugeint)
{%- endmacro %}

{% macro spark__row_hash(alias) -%}
    cast(xxhash64({{ alias }}.*) as decimal(38, 0))
{%- endmacro %}

{# Of a group of rows, in whatever order, from some of their columns. These are hashed twice: sums tell
   rows apart only as far as each bit of the hashes depends on all of the row. #}
{% macro rows_digest(columns) -%}
    {{ return(adapter.dispatch('rows_digest', 'ctwa')(columns)) }}
{%- endmacro %}

{% macro default__rows_digest(columns) -%}
    sum(cast(hash(hash({{ columns | join(', ') }})) as hugeint))
{%- endmacro %}

{% macro spark__rows_digest(columns) -%}
    sum(cast(xxhash64(xxhash64({{ columns | join(', ') }})) as decimal(38, 0)))
{%- endmacro %}

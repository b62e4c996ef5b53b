{#
    The one test of the rows of a model, seed or source:

    - grain: columns that are the key; no two rows share one, and none lacks a value
    - unique: further keys, a list of lists of columns
    - not_null: columns with a value in every row
    - accepted: column -> the values that it may have besides null
    - references: each with `column`, `to` and `field`; every value of the column but null is one
      of that field; `where` narrows it to some rows

    It raises an error instead of returning rows: dbt only reports how many rows were returned, but
    the reader has to know which column is wrong, how, and in how many rows. Never the value, which
    may be personal. One scan covers all columns; each key and reference needs one more.

    Compiled for the plan (target `plan`, orchestration/plan.py) it returns the same text instead: an
    error would end the transaction in which the plan builds all models.

    A mart's `not null` and `check` are constraints of its contract instead, enforced by DuckDB
    while it writes. Views cannot have constraints.
#}
{% test sound_rows(model, grain=[], unique=[], not_null=[], accepted={}, references=[]) %}

{%- set faults = [] %}
{%- for column in grain + not_null %}
    {%- do faults.append((column ~ ' is null, rows: ', column ~ ' is null')) %}
{%- endfor %}
{%- for column, values in accepted.items() %}
    {%- for value in values if value is not string %}
        {%- do exceptions.raise_compiler_error(
            "sound_rows: an accepted value of " ~ column ~ " is not text but " ~ value
            ~ ": quote it (YAML reads off, on, yes and no as booleans)"
        ) %}
    {%- endfor %}
    {%- set is_other = column ~ " not in ('" ~ values | join("', '") ~ "')" %}
    {%- do faults.append((column ~ ' has a value outside its list, rows: ', is_other)) %}
{%- endfor %}
{%- set parts = [] %}
{%- if faults %}
    {%- set part %}
    {{ counted_faults(faults) }}
    from {{ model }}
    {%- endset %}
    {%- do parts.append(part) %}
{%- endif %}
{%- for key in ([grain] if grain else []) + unique %}
    {%- set part %}
    select '{{ key | join(", ") }} is not unique, keys: ' as fault, count(*) as cases
    from (
        select 1
        from {{ model }}
        group by {{ key | join(', ') }}
        having count(*) > 1
    )
    {%- endset %}
    {%- do parts.append(part) %}
{%- endfor %}
{%- for reference in references %}
    {%- set part %}
    select
        '{{ reference.column }} is not in {{ reference.to.identifier }}, rows: ' as fault,
        count(*) as cases
    from {{ model }} as child
    where
        child.{{ reference.column }} is not null
        {%- if reference.where %}
        and {{ reference.where }}
        {%- endif %}
        and not exists (
            select 1 from {{ reference.to }} as parent
            where parent.{{ reference.field }} = child.{{ reference.column }}
        )
    {%- endset %}
    {%- do parts.append(part) %}
{%- endfor %}

with

faults as (
    {{- parts | join('\n    union all') }}
)

{% if target.name == 'plan' -%}
select '{{ model.identifier }}: ' || string_agg(fault || cases, '; ') as faults
from faults
where cases > 0
having count(*) > 0
{%- else -%}
select count(*) as faults
from faults
where cases > 0
having
    -- An aggregate has a row even if there is no fault, and `error` must not be called then.
    case
        when count(*) = 0 then false
        else {{ raised("'" ~ model.identifier ~ ": ' || string_agg(fault || cases, '; ')") }} is null
    end

{%- endif %}

{% endtest %}

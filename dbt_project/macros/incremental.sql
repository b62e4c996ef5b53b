{#
    How models are incremental by person. Nothing depends on event time, which says little about
    what is new, because deliveries come late and out of order.

    `changed_seq` on a row says when it last changed: the highest `seq` in the lake at that run. A
    model takes the upstream rows with a `changed_seq` above its own highest and rebuilds every
    person they belong to completely. A model that failed stays behind, and its next run picks up
    everything that it missed.
#}

{# The upper end of what this run sees: the highest envelope in the lake. #}
{% macro lake_seq() -%}
    (select coalesce(max(envelopes.seq), 0) from {{ source('event_log', 'envelopes') }} as envelopes)
{%- endmacro %}

{# The highest value of a column in the model as it stands, -1 in an empty one; `only` narrows it to
   some rows. A literal, so that Parquet row groups below it are skipped unread. The query stands
   beside it: the plan (orchestration/plan.py) asks it again before each run. #}
{% macro own_highest(column, only=none) -%}
    {%- if execute -%}
        {%- set query -%}
            select coalesce(max({{ column }}), -1) from {{ this }}{{ ' where ' ~ only if only }}
        {%- endset -%}
        {{ run_query(query).columns[0].values()[0] }} /* own_highest: {{ query }} */
    {%- else -%}
        -1
    {%- endif -%}
{%- endmacro %}

{# The settings that shape conversations and touches. Rows built under others are rebuilt. #}
{% macro rule_set() -%}
    '{{ var("rule_version") }}/{{ conversation_gap_days() }}/{{ lead_scope() }}/{{ lead_cycle_days() }}/
    {{- first_touch() }}/{{ recycled_number_days() }}/{{ shared_identifier_degree() }}/
    {{- link_code_days() }}'
{%- endmacro %}

{# People to rebuild: those with changed rows upstream, and those built under other rules. #}
{% macro changed_people(upstream) -%}
    select upstream.person_key
    from {{ upstream }} as upstream
    where
        upstream.changed_seq > {{ own_highest('changed_seq') }}
        and upstream.person_key is not null
    union distinct
    select built.person_key
    from {{ this }} as built
    where built.rule_set <> {{ rule_set() }}
{%- endmacro %}

{# Pre-hook: removes the rows of people who have nothing left upstream, because they or their
   messages turned out to be another person's. `only` is the condition under which the model takes
   upstream rows at all. It depends on the two tables only, so running it twice does no harm. #}
{% macro forget_vanished_people(upstream, only='true') -%}
    {% if is_incremental() %}
        {%- set condition -%}
            person_key not in (
            select upstream.person_key
            from {{ upstream }} as upstream
            where
                upstream.person_key is not null
                and {{ only }}
        )
        {%- endset -%}
        {{ delete_from_this(condition) }}
    {% endif %}
{%- endmacro %}

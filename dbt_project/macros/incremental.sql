{#
    The incremental scheme of the people models. Nothing depends on event time, which says little
    about what is new once deliveries are late and shuffled.

    `changed_seq` on a row is the run that last changed it: the highest `seq` in the lake at that
    run. A model takes the upstream rows with a higher `changed_seq` than the highest of its own,
    and builds again, whole, every person they belong to. A model that failed stays behind and takes
    up everything it missed at its next run.
#}

{# Upper end of what this run sees: the highest envelope in the lake. #}
{% macro lake_seq() -%}
    (select coalesce(max(envelopes.seq), 0) from {{ ref('stg_event_log__envelopes') }} as envelopes)
{%- endmacro %}

{# The highest value of a column in the model as it stands, -1 in an empty one. A literal, so that
   Parquet row groups below it are skipped unread. #}
{% macro own_highest(column) -%}
    {%- if execute -%}
        {%- set highest = run_query('select coalesce(max(' ~ column ~ '), -1) from ' ~ this) -%}
        {{ highest.columns[0].values()[0] }}
    {%- else -%}
        -1
    {%- endif -%}
{%- endmacro %}

{# The settings that shape conversations and touches. Rows made under others are built again. #}
{% macro rule_set() -%}
    '{{ var("rule_version") }}/{{ conversation_gap_days() }}/{{ lead_scope() }}/{{ lead_cycle_days() }}/
    {{- first_touch() }}/{{ recycled_number_days() }}/{{ link_code_days() }}'
{%- endmacro %}

{# People to build again: those with changed rows upstream, and those built under other rules. #}
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

{# Pre-hook: removes the rows of people of whom nothing is left upstream, because they turned out to
   be somebody else or their messages somebody else's. `only` is the condition under which the
   model takes upstream rows at all: what it would not take keeps nobody. It looks at nothing but
   the two tables, so running it twice does no harm. #}
{% macro forget_vanished_people(upstream, only='true') -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where person_key not in (
            select upstream.person_key
            from {{ upstream }} as upstream
            where
                upstream.person_key is not null
                and {{ only }}
        )
    {% endif %}
{%- endmacro %}

{# Pre-hook of the codes of coded links: removes messages that have none any more, because another
   copy of them won. Looks at nothing but the two tables, as `forget_vanished_people`. #}
{% macro forget_vanished_codes(messages) -%}
    {% if is_incremental() %}
        delete from {{ this }}
        where message_key not in (
            select messages.message_key
            from {{ messages }} as messages
            where
                messages.link_code_state is not null
                and messages.direction = 'inbound'
        )
    {% endif %}
{%- endmacro %}

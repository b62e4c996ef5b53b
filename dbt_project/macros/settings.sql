{# Values of the rules. A var wins (tests, rule comparison); else the settings' environment. #}

{# The last day the marts speak of; no model reads the clock (rule R3). #}
{% macro as_of() -%}
    cast('{{ var("as_of", env_var("CTWA_AS_OF", "1970-01-01")) }}' as date)
{%- endmacro %}

{% macro conversation_gap_days() -%}
    {{ var("conversation_gap_days", env_var("CTWA_CONVERSATION_GAP_DAYS", "30")) | int }}
{%- endmacro %}

{% macro reporting_currency() -%}
    '{{ var("reporting_currency", env_var("CTWA_REPORTING_CURRENCY", "BRL")) }}'
{%- endmacro %}

{% macro reporting_timezone() -%}
    '{{ var("reporting_timezone", env_var("CTWA_REPORTING_TIMEZONE", "America/Sao_Paulo")) }}'
{%- endmacro %}

{% macro rule_version() -%}
    '{{ var("rule_version") }}'
{%- endmacro %}

{# Values of the rules. A var wins (tests, rule comparison); else the settings' environment. #}

{# The last day the marts speak of; no model reads the clock (rule R3). #}
{% macro as_of() -%}
    cast('{{ var("as_of", env_var("CTWA_AS_OF", "1970-01-01")) }}' as date)
{%- endmacro %}

{% macro conversation_gap_days() -%}
    {{ var("conversation_gap_days", env_var("CTWA_CONVERSATION_GAP_DAYS", "30")) | int }}
{%- endmacro %}

{# `company`: one lead per person. `brand`: one per person and brand (seed business_numbers, E31). #}
{% macro lead_scope() -%}
    {{ return(var("lead_scope", env_var("CTWA_LEAD_SCOPE", "company"))) }}
{%- endmacro %}

{# Days of silence after which a person becomes a new lead (E18); 0: never. #}
{% macro lead_cycle_days() -%}
    {{ return(var("lead_cycle_days", env_var("CTWA_LEAD_CYCLE_DAYS", "0")) | int) }}
{%- endmacro %}

{# `any`: the earliest touch is the source (rule R5). `paid`: the earliest with an ad, if any (E16). #}
{% macro first_touch() -%}
    {{ return(var("first_touch", env_var("CTWA_FIRST_TOUCH", "any"))) }}
{%- endmacro %}

{# Days between two user ids of one number after which it is held to have changed hands (E28). #}
{% macro recycled_number_days() -%}
    {{ return(var("recycled_number_days", env_var("CTWA_RECYCLED_NUMBER_DAYS", "45")) | int) }}
{%- endmacro %}

{# Days after a click on the site's button in which the code in the message counts (E21). #}
{% macro link_code_days() -%}
    {{ return(var("link_code_days", env_var("CTWA_LINK_CODE_DAYS", "7")) | int) }}
{%- endmacro %}

{# Stages of the funnel that conversion events tell of, each with the event's name: `stage:Name`. #}
{% macro _conversion_pairs() -%}
    {{ return(var(
        "conversion_stages",
        env_var("CTWA_CONVERSION_STAGES", "qualified:QualifiedLead,won:Purchase")
    ).split(",")) }}
{%- endmacro %}

{% macro conversion_stages() -%}
    {%- set stages = [] -%}
    {%- for pair in _conversion_pairs() -%}
        {%- do stages.append(pair.split(":")[0]) -%}
    {%- endfor -%}
    {{ return(stages) }}
{%- endmacro %}

{# What an event of this stage is called, unless Meta refused the name. #}
{% macro conversion_name(stage) -%}
    case {{ stage }}
            {%- for pair in _conversion_pairs() %}
            when '{{ pair.split(":")[0] }}' then '{{ pair.split(":")[1] }}'
            {%- endfor %}
        end
{%- endmacro %}

{# `latest_ad`: an event has the click of the latest touch with one. `first_touch`: the source's (E70). #}
{% macro conversion_click() -%}
    {{ return(var("conversion_click", env_var("CTWA_CONVERSION_CLICK", "latest_ad"))) }}
{%- endmacro %}

{# Days before the outcome within which that click must have been (E67). #}
{% macro conversion_click_days() -%}
    {{ return(var("conversion_click_days", env_var("CTWA_CONVERSION_CLICK_DAYS", "7")) | int) }}
{%- endmacro %}

{# `ecb`: the European Central Bank's rates count beside those of the seed (rule R13). #}
{% macro exchange_rates_source() -%}
    {{ return(var("exchange_rates", env_var("CTWA_EXCHANGE_RATES", "seed"))) }}
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

{# Values of the rules. A var wins (tests, comparison of rules), else the environment from the
   settings. #}

{# The last day that the marts cover; no model reads the clock (rule R3). #}
{% macro as_of() -%}
    cast('{{ var("as_of", env_var("CTWA_AS_OF", "1970-01-01")) }}' as date)
{%- endmacro %}

{# A setting of the rules (ctwa/settings.py) by its name, as an integer if it is one. There is no
   default here: `ctwa` runs dbt and passes every value. Only what builds nothing does without:
   linting, dbt's docs, queries of metrics, and `dbt ls` and `dbt parse` by hand or by an editor. #}
{% macro rule(name) -%}
    {%- set value = var(name, env_var("CTWA_" ~ name | upper, "")) | string -%}
    {%- set only_looks = target.name in ("lint", "marts") or (
        not execute and flags.WHICH in ("list", "ls", "parse")
    ) -%}
    {%- if value == "" and only_looks -%}
        {%- set value = "0" -%}
    {%- elif value == "" -%}
        {{ exceptions.raise_compiler_error(
            "plain dbt does not know the settings of the installation (" ~ name ~ " is not passed): "
            ~ "write `ctwa dbt` in place of `dbt`, with the same arguments"
        ) }}
    {%- endif -%}
    {{ return(value | int if value.isdigit() else value) }}
{%- endmacro %}

{% macro conversation_gap_days() -%}
    {{ return(rule("conversation_gap_days")) }}
{%- endmacro %}

{# `company`: one lead per person. `brand`: one per person and brand (seed business_numbers, E31). #}
{% macro lead_scope() -%}
    {{ return(rule("lead_scope")) }}
{%- endmacro %}

{# Days of silence after which a person becomes a new lead (E18); 0 means never. #}
{% macro lead_cycle_days() -%}
    {{ return(rule("lead_cycle_days")) }}
{%- endmacro %}

{# `any`: the earliest touch is the source (rule R5). `paid`: the earliest with an ad, if any (E16). #}
{% macro first_touch() -%}
    {{ return(rule("first_touch")) }}
{%- endmacro %}

{# Days between two user ids of one number after which it is taken to have changed hands (E28). #}
{% macro recycled_number_days() -%}
    {{ return(rule("recycled_number_days")) }}
{%- endmacro %}

{# From this many people on, a phone, e-mail or id that they are all said to have joins nobody
   (E86). #}
{% macro shared_identifier_degree() -%}
    {{ return(rule("shared_identifier_degree")) }}
{%- endmacro %}

{# Days after a click on the site's button within which the code in the message counts (E21). #}
{% macro link_code_days() -%}
    {{ return(rule("link_code_days")) }}
{%- endmacro %}

{# `always`: a chat rule qualifies leads beside the CRM. `without_crm`: only those that no CRM has
   said anything of. #}
{% macro chat_qualifies() -%}
    {{ return(rule("chat_qualifies")) }}
{%- endmacro %}

{# Stages of the funnel that become conversion events, each with the event's name: `stage:Name`. #}
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

{# The name of this stage's event, unless Meta refused the name. #}
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

{# Days before the outcome within which that click must lie (E67). #}
{% macro conversion_click_days() -%}
    {{ return(var("conversion_click_days", env_var("CTWA_CONVERSION_CLICK_DAYS", "7")) | int) }}
{%- endmacro %}

{# `ecb`: the European Central Bank's rates count beside those of the seed (rule R13). #}
{% macro exchange_rates_source() -%}
    {{ return(rule("exchange_rates")) }}
{%- endmacro %}

{% macro reporting_currency() -%}
    '{{ rule("reporting_currency") }}'
{%- endmacro %}

{% macro reporting_timezone() -%}
    '{{ rule("reporting_timezone") }}'
{%- endmacro %}

{% macro rule_version() -%}
    '{{ var("rule_version") }}'
{%- endmacro %}

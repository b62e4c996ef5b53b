{# How people call a platform, for the names of rows that no campaign or ad stands behind. #}
{% macro platform_name(platform) -%}
    case {{ platform }}
            when 'meta' then 'Meta'
            when 'google' then 'Google'
            when 'microsoft' then 'Microsoft'
            else {{ platform }}
        end
{%- endmacro %}

{# Name of a report's row of leads without a campaign: Meta names an ad, the others a click. #}
{% macro unresolved_name(platform) -%}
    {{ platform_name(platform) }}
        || case when {{ platform }} = 'meta' then ' ads' else ' clicks' end || ' not resolved'
{%- endmacro %}

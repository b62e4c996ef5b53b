{# Whether a time zone's name is one that every engine knows (IANA's, from pytz): converting with an
   unknown one fails the whole model. Null is not known. #}
{% macro is_known_timezone(timezone) -%}
    coalesce({{ timezone }} in ('{{ modules.pytz.all_timezones | join("', '") }}'), false)
{%- endmacro %}

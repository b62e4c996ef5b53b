{# Takes rows out of an incremental model before it is continued: the statement of a pre-hook. #}
{% macro delete_from_this(condition) -%}
    {{ return(adapter.dispatch('delete_from_this', 'ctwa')(condition)) }}
{%- endmacro %}

{% macro default__delete_from_this(condition) -%}
        delete from {{ this }}
        where {{ condition }}
{%- endmacro %}

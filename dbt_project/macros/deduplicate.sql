{# The first row by `order_by` of each `partition_by` (as in dbt_utils). The order decides by
   content which copy counts, never by arrival, so every order of deliveries gives the same result
   (rule R3). #}
{% macro deduplicate(relation, partition_by, order_by) -%}
    select *
    from (
        select
            *,
            row_number() over (partition by {{ partition_by }} order by {{ order_by }}) as preference
        from {{ relation }}
    ) as ranked
    where preference = 1
{%- endmacro %}

{# The grain of a model: no two rows with the same key, and no key without a value. #}
{% test unique_grain(model, columns) %}

select
    {{ columns | join(', ') }},
    count(*) as rows_of_key

from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or count({{ column }}) = 0
    {%- endfor %}

{% endtest %}

-- E30: an id with a plus, a blank or a decimal point would match no message.
select
    business_number_id,
    current_number_id

from {{ ref('business_numbers') }}
where
    {% for column in ['business_number_id', 'current_number_id'] %}
        {{ 'or' if not loop.first }} length(
            translate({{ column }}, '0123456789', '')
        ) > 0
    {% endfor %}

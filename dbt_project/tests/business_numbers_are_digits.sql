-- E30: an id with a plus, a blank or a decimal point would match no message.
select
    business_number_id,
    current_number_id

from {{ ref('business_numbers') }}
where
    length(translate(business_number_id, '0123456789', '')) > 0
    or length(translate(current_number_id, '0123456789', '')) > 0

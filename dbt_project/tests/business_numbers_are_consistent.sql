{{ config(meta={'dagster': {'ref': {'name': 'business_numbers'}}}) }}
/*
    E30, E31: rows of the seed that must be mistakes. An id with a plus, a blank or a decimal point
    would match no message; a current number that itself moved would split its chats (name the
    number in use now); the rows of one current number may name one brand at most.
*/

select
    numbers.business_number_id,
    numbers.current_number_id,
    case
        when length(translate(numbers.business_number_id || numbers.current_number_id, '0123456789', '')) > 0
            then 'not digits only'
        when moved.business_number_id is not null
            then 'the current number itself moved to ' || moved.current_number_id
        else 'two brands: ' || numbers.brand || ' and ' || twins.brand
    end as problem

from {{ ref('business_numbers') }} as numbers
left join {{ ref('business_numbers') }} as moved
    on
        numbers.current_number_id = moved.business_number_id
        and moved.current_number_id <> moved.business_number_id
left join {{ ref('business_numbers') }} as twins
    on
        numbers.current_number_id = twins.current_number_id
        and numbers.brand < twins.brand
where
    length(translate(numbers.business_number_id || numbers.current_number_id, '0123456789', '')) > 0
    or moved.business_number_id is not null
    or twins.brand is not null

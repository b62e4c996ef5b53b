-- E30: a current number that moved itself would split its chats; name where it is now.
select
    moved.business_number_id,
    moved.current_number_id,
    moved_again.current_number_id as is_now

from {{ ref('business_numbers') }} as moved
inner join {{ ref('business_numbers') }} as moved_again
    on moved.current_number_id = moved_again.business_number_id
where moved_again.current_number_id <> moved_again.business_number_id

-- E31: the rows of one current number name one brand at most.
select
    current_number_id,
    min(brand) as one_brand,
    max(brand) as another_brand

from {{ ref('business_numbers') }}
group by current_number_id
having min(brand) <> max(brand)

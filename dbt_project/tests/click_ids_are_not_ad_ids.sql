-- E9: a click id is never taken for an ad id, nor the reverse.
select
    message_key,
    referral_source_id

from {{ ref('int_messages__deduplicated') }}
where referral_source_id = ctwa_clid
